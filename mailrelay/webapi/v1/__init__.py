"""Our own API: JSON in and out, one OpenAPI document made of its types and operations."""
