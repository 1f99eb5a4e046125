"""The machine: its files, its hardware, the backend, the terminal. Nothing of images."""
