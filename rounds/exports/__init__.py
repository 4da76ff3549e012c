"""What people take away: histories, tables, and versions bundled with their model card."""
