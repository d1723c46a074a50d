"""The scheduled drift job: what production receives, compared with what the model was trained on."""
