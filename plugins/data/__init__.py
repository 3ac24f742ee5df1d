"""Where images come from: folders and simulators."""
