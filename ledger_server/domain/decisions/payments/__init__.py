"""Owns the decisions on payments: one module for each source of news, and the bookings that follow."""
