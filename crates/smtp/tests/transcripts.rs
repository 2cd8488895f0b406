//! Golden transcripts: `transcripts/*.in` is what the client sends, `*.ref` all that happens. `UPDATE_REF=1` writes the references anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use driver::{Driver, by_words, read_script, transcripts};

#[test]
fn transcripts_are_as_written() {
    let mut wrong = Vec::new();
    for path in transcripts() {
        let (config, script) = read_script(&std::fs::read_to_string(&path).unwrap());
        let mut driver = Driver::new(&config, by_words);
        let mut text: String = driver.entries.drain(..).map(|entry| entry.to_string()).collect();
        for (line, action) in script {
            text += &format!("C: {line}\n");
            driver.act(&action);
            text.extend(driver.entries.iter().map(ToString::to_string));
            if driver.closed() {
                break;
            }
            driver.entries.clear();
        }
        let reference = path.with_extension("ref");
        if std::env::var_os("UPDATE_REF").is_some() {
            std::fs::write(&reference, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&reference).unwrap_or_default();
        if text != expected {
            let line = text.lines().zip(expected.lines()).find(|(got, want)| got != want);
            wrong.push(format!("{}: first difference {line:?}\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
