"""What each idea adds to one network, at equal numbers of images seen, on synthetic samples."""
