"""Pixel Classification."""
