//! A strict reader of `Authentication-Results` (RFC 8601 §2.2), by the letter of the grammar: what it accepts, any
//! reader must. It knows nothing of the writer under test.

/// One field, unquoted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) authserv_id: String,
    pub(crate) results: Vec<MethodResult>,
}

/// One `resinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MethodResult {
    pub(crate) method: String,
    pub(crate) result: String,
    pub(crate) reason: Option<String>,
    /// `ptype.property` and value.
    pub(crate) properties: Vec<(String, String)>,
}

/// Reads a whole field value, without the field's name.
pub(crate) fn parse(value: &str) -> Option<Field> {
    let mut scan = Scan { rest: value };
    scan.cfws();
    let authserv_id = scan.value()?;
    let spaced = scan.cfws();
    if spaced && scan.rest.starts_with(|c: char| c.is_ascii_digit()) {
        scan.rest = scan.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        scan.cfws();
    }
    let mut results = Vec::new();
    if let Some(end) = scan.no_result() {
        return end.then_some(Field { authserv_id, results });
    }
    while scan.char(';') {
        results.push(scan.resinfo()?);
        scan.cfws();
    }
    (scan.rest.is_empty() && !results.is_empty()).then_some(Field { authserv_id, results })
}

struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    /// `; none` and nothing else: whether the field ends there.
    fn no_result(&mut self) -> Option<bool> {
        let before = self.rest;
        if self.char(';') {
            self.cfws();
            if self.keyword().as_deref() == Some("none") {
                self.cfws();
                if self.rest.is_empty() {
                    return Some(true);
                }
            }
        }
        self.rest = before;
        None
    }

    fn resinfo(&mut self) -> Option<MethodResult> {
        self.cfws();
        let method = self.keyword()?;
        self.cfws();
        if self.char('/') {
            self.cfws();
            self.keyword()?;
            self.cfws();
        }
        self.equals()?;
        let result = self.keyword()?;
        let mut found = MethodResult { method, result, reason: None, properties: Vec::new() };
        while self.cfws() && self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let name = self.keyword()?;
            if name == "reason" && found.reason.is_none() && found.properties.is_empty() {
                self.cfws();
                self.equals()?;
                found.reason = Some(self.value()?);
                continue;
            }
            self.cfws();
            self.char('.').then_some(())?;
            self.cfws();
            let property = self.keyword()?;
            self.cfws();
            self.equals()?;
            found.properties.push((format!("{name}.{property}"), self.pvalue()?));
        }
        Some(found)
    }

    /// `=` and what may follow it.
    fn equals(&mut self) -> Option<()> {
        self.char('=').then_some(())?;
        self.cfws();
        Some(())
    }

    /// `value / [ [ local-part ] "@" ] domain-name`
    fn pvalue(&mut self) -> Option<String> {
        let mut value = if self.rest.starts_with('@') { String::new() } else { self.value()? };
        if self.char('@') {
            let domain = self.take(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))?;
            value.push('@');
            value.push_str(domain);
        }
        Some(value)
    }

    /// RFC 2045 §5.1: a token or a quoted-string.
    fn value(&mut self) -> Option<String> {
        if !self.char('"') {
            return self.take(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)).map(str::to_owned);
        }
        let mut content = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(content);
                }
                '\\' => content.push(chars.next().filter(|(_, c)| (' '..='~').contains(c))?.1),
                ' '..='~' => content.push(c),
                _ => return None,
            }
        }
        None
    }

    /// RFC 5321 §4.1.2 Keyword: letters, digits and inner hyphens; the methods and results here are no more than that.
    fn keyword(&mut self) -> Option<String> {
        let word = self.take(|c| c.is_ascii_alphanumeric() || c == '-')?;
        (!word.ends_with('-') && !word.starts_with('-')).then(|| word.to_owned())
    }

    /// Comments and folding white space; whether there was any.
    fn cfws(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            let fold = self.rest.strip_prefix("\r\n").filter(|rest| rest.starts_with([' ', '\t']));
            if let Some(rest) = fold.or_else(|| self.rest.strip_prefix([' ', '\t'])) {
                self.rest = rest;
            } else if !self.comment() {
                return self.rest.len() < before;
            }
        }
    }

    fn comment(&mut self) -> bool {
        let mut depth = 0;
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = if at == 0 { self.rest } else { &self.rest[at + 1..] };
                return at > 0;
            }
        }
        false
    }

    fn char(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!taken.is_empty()).then_some(taken)
    }
}
