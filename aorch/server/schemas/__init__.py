"""The schemas of bodies and queries (pydantic), one module per noun. The OpenAPI document is generated from them."""
