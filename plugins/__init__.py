"""Built-in methods, in rooms by purpose. Each is an entry point of its own, registered through the same door as a third party's."""
