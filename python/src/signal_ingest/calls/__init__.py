"""Every call of the API as steps, which threads and asyncio share."""
