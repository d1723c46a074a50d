"""The promotion service: REST scoring with whichever version is Production."""
