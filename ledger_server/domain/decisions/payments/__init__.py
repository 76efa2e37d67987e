"""Owns the decisions on payments, by whose word they are made, and the bookings that follow."""
