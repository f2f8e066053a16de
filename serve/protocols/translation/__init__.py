"""Translates requests, responses and streams between APIs.

A folder for each direction, named by what the client speaks and what the model's service speaks; in each `request`,
`answer` and `stream`, pure functions of documents and of events, and `parameters`, the table of what becomes of each
parameter.
"""
