"""What only this bundle needs: its simulator, its cases and its measurement."""
