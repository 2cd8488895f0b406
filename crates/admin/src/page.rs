//! The pages: one file each, with script and style inside, and a policy that lets a browser run nothing else.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::answer::typed;

/// The status page.
pub(crate) fn status() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| joined(HTML, CSS, JS));
    static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| policy(CSS, JS));
    page(PAGE.clone(), POLICY.clone())
}

/// What each metric means; `table` is HTML already.
pub(crate) fn metrics_help(table: &str) -> Response {
    page(joined(HELP_HTML, CSS, "").replace("<!--TABLE-->", table), policy(CSS, ""))
}

fn page(html: String, policy: Option<HeaderValue>) -> Response {
    let mut answer = typed(StatusCode::OK, "text/html; charset=utf-8", html);
    answer.headers_mut().extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    answer
}

fn joined(html: &str, css: &str, js: &str) -> String {
    html.replacen("/*CSS*/", css, 1).replacen("/*JS*/", js, 1)
}

/// Nothing but this style and this script (Content Security Policy Level 3, hash sources), and events from here.
fn policy(css: &str, js: &str) -> Option<HeaderValue> {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let (style, script) = (hash(css), if js.is_empty() { "'none'".into() } else { hash(js) });
    let policy = format!(
        "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
}

/// Text inside an element or a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let replace = |character| match character {
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '"' => "&quot;".into(),
        '\'' => "&#39;".into(),
        other => String::from(other),
    };
    text.chars().map(replace).collect()
}

const HTML: &str = include_str!("page/index.html");
const HELP_HTML: &str = include_str!("page/help.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_whole_and_from_here_alone() {
        let page = joined(HTML, CSS, JS);
        assert!(page.len() <= 60 << 10, "{} octets", page.len());
        assert!(page.contains(CSS) && page.contains(JS));
        for word in ["http:", "https:", "//cdn", "innerHTML", "insertAdjacentHTML", "eval(", " style=\"", " onclick"] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(word), "{word}");
        }
        assert!(!CSS.contains("</") && !JS.contains("</script"));
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
