"""The commands of `dfk`, one file each: `NAME.main(arguments)` runs `dfk NAME`."""
