"""Tests of the routes, one module for each module of routes."""
