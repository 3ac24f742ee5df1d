"""Images from files: formats, folder layouts, masks, validation before anything is written."""
