"""Methods and what they are compared with, on equal terms."""
