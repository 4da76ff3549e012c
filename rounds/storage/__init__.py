"""Where bytes lie: blobs by digest, uploads on their way, the object store behind, differences between versions."""
