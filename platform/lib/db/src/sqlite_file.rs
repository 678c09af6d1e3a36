//! The file of a SQLite database that has no tables yet (SQLite, "Database File Format").

/// The size of a page in bytes: SQLite's default.
const PAGE: usize = 4096;

/// The size of the header at the beginning of the first page, in bytes.
const HEADER: usize = 100;

/// Returns the only page of a database without tables whose journal is a write-ahead log, as SQLite writes it.
///
/// SQLite itself writes this page with the first change, and its file is empty until then.
pub(crate) fn without_tables() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"SQLite format 3\0");
    // The size of a page.
    put(16, &[0x10, 0]);
    // The versions for writing and reading: 2 is a write-ahead log.
    put(18, &[2, 2]);
    // The fixed fractions of a page's payload: at most, at least, of a leaf.
    put(21, &[64, 32, 32]);
    // The change counter, the number of pages, and the change for which that number is valid.
    put(24, &1_u32.to_be_bytes());
    put(28, &1_u32.to_be_bytes());
    put(92, &1_u32.to_be_bytes());
    // The version of SQLite that wrote the file: 3.46.1.
    put(96, &3_046_001_u32.to_be_bytes());
    // The table of tables: a leaf without cells, whose content begins at the end of the page.
    put(HEADER, &[0x0d]);
    put(HEADER + 5, &[0x10, 0]);
    page
}
