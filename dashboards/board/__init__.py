"""The live board: a web page that follows running sweeps. It only reads; what its buttons ask for goes to the API."""
