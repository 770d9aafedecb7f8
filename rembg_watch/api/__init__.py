"""The RemBG.com API client. It knows nothing of the daemon and can be used by itself."""
