"""HTTP/1.1 over sockets and over asyncio's streams, without a dependency."""
