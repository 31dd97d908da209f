"""How much one request may ask for, so that no input can exhaust memory, time or the stack.

Whatever is beyond a limit is answered with a SCIM error (errors.py; RFC 7644 section 7).
"""

MAX_URL_BYTES = 8_000
"""Bytes of a URL behind its scheme: some less than fit the 8 KiB of the Functions host's request line, whose answer to
a longer one says nothing."""
MAX_BODY_BYTES = 1024 * 1024
MAX_BULK_BYTES = 4 * 1024 * 1024
MAX_BULK_OPERATIONS = 1_000
MAX_EXTENSIONS = 10
MAX_EXTENSION_ATTRIBUTES = 200
MAX_JSON_DEPTH = 32
JSON_BYTES_A_VALUE = 20
"""Bytes that a body may have for each value in it: of values that are smaller, fewer than its bytes allow may come."""
MAX_JSON_VALUES = 100_000
"""Values in any body: the time that it takes to read them is not divided into turns."""
MAX_STRING_CHARS = 30_000
"""Characters of one attribute value. A string column of Table Storage holds 32 Ki UTF-16 units."""
MAX_ELEMENTS = 1_000
"""Values of one multi-valued attribute in a document. Group memberships are rows, not part of a document."""
MAX_OPERATIONS = 1_000
MAX_PATCH_COMPARISONS = 100_000
"""Comparisons that one PATCH may make: for each operation, the attribute's values times the terms of its filter."""
MAX_PATH_CHARS = 512
MAX_FILTER_CHARS = 4_096
MAX_FILTER_DEPTH = 32
MAX_FILTER_TERMS = 200
SCAN_LIMIT = 10_000
"""Resources of one type that a query may read where no key leads to what it asks for, and that may be sorted. Pages by
cursor have no such bound."""
DEFAULT_COUNT = 100
MAX_COUNT = 200
MAX_PAGE_CHARS = 4 * 1024 * 1024
"""Characters of the resources on one page, beyond which it shows fewer of them than asked for, but at least one."""
CURSOR_SECONDS = 3_600
"""Seconds that a client may take from one page to the next."""
