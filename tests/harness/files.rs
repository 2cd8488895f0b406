//! Reading what was delivered.

use std::path::{Path, PathBuf};

/// Files of a Maildir's `new`, sorted by name.
pub fn new_in(maildir: &Path) -> Vec<PathBuf> {
    files(&maildir.join("new"))
}

/// Files of a folder, sorted by name; none if it is not there.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The one message that a Maildir holds.
pub fn only_message(maildir: &Path) -> String {
    let files = new_in(maildir);
    assert_eq!(files.len(), 1, "{files:?}");
    read(&files[0])
}

/// A file as text; odd octets become U+FFFD.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// The header fields of a message with LF line ends, unfolded, in order.
pub fn fields(message: &str) -> Vec<(String, String)> {
    let header = message.split("\n\n").next().unwrap();
    let unfolded = header.replace("\n\t", " ").replace("\n ", " ");
    unfolded
        .lines()
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}")))
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// The values of the fields of that name.
pub fn values(message: &str, name: &str) -> Vec<String> {
    fields(message).into_iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}
