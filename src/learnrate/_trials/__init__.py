"""Where trainings are run: begun alike, counted, remembered, paused and gone on with, whichever verb asks for them."""
