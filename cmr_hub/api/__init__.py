"""Galleries as an HTTP service with typed endpoints, for programs; `cmr serve --api` starts it."""
