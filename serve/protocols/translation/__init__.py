"""Translates requests, responses and streams between APIs.

One folder per direction, named after the client's API and the model service's API; in each `request`,
`answer` and `stream`, pure functions of documents and of events, and `parameters`, the table of how each parameter is
treated.
"""
