//! One session's end of a live trace. Most sessions have none: then it costs a look at a pointer.

use mx6_telemetry::{Event, Said, Tracing, What};

use crate::portions::Portions;

/// Tells what is said in a session.
pub(crate) struct Tap {
    tracing: Tracing,
    session_id: String,
    accepted_at_ms: u64,
    /// Octets of each message that are told.
    message_octets: u64,
    /// Octets of the present message that may still be told, and those that were left out and not told so yet.
    left: u64,
    cut: u64,
    portions: Portions,
}

impl Tap {
    /// For a session whose client somebody wants to know of; tells that it has begun.
    pub(crate) fn open(
        tracing: &Tracing,
        client: std::net::IpAddr,
        session_id: &str,
        accepted_at_ms: u64,
    ) -> Option<Box<Tap>> {
        if !tracing.is_on() {
            return None;
        }
        let message_octets = tracing.wants(client)?;
        let (tracing, session_id) = (tracing.clone(), session_id.to_owned());
        let (left, cut, portions) = (message_octets, 0, Portions::default());
        let tap = Tap { tracing, session_id, accepted_at_ms, message_octets, left, cut, portions };
        tap.tell(What::Connect { client });
        Some(Box::new(tap))
    }

    /// The client sent `octets`; `awaited`: the session awaited octets of a message before it took them.
    pub(crate) fn client(&mut self, mut octets: &[u8], awaited: bool) {
        let dotted = self.portions.dotted(awaited);
        while !octets.is_empty() {
            let (portion, of_message) = self.portions.first(octets, dotted);
            self.portions.took(portion, of_message);
            if of_message {
                self.message(portion);
            } else {
                self.command(portion);
            }
            octets = &octets[portion.len()..];
        }
    }

    fn message(&mut self, octets: &[u8]) {
        let kept = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
        self.left -= kept as u64;
        self.cut += (octets.len() - kept) as u64;
        if kept > 0 {
            self.tell(What::Client(Said { octets: octets[..kept].to_vec(), cut: 0 }));
        }
    }

    fn command(&mut self, octets: &[u8]) {
        self.tell_cut();
        if !self.portions.in_chunks() {
            self.left = self.message_octets;
        }
        self.tell(What::Client(Said { octets: octets.to_vec(), cut: 0 }));
    }

    /// The gate sent `octets`.
    pub(crate) fn server(&mut self, octets: &[u8]) {
        self.tell_cut();
        self.tell(What::Server(Said { octets: octets.to_vec(), cut: 0 }));
    }

    /// The session goes on inside TLS.
    pub(crate) fn tls(&mut self, version: &str) {
        // What came behind STARTTLS was thrown away.
        self.portions = Portions::default();
        self.tell(What::Tls { version: version.to_owned() });
    }

    /// A decision fell; `record` is its line.
    pub(crate) fn decision(&self, record: &[u8]) {
        if let Ok(record) = serde_json::from_slice(record) {
            self.tell(What::Decision { record });
        }
    }

    /// What was left out is told where it was, behind what was not.
    fn tell_cut(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            self.tell(What::Client(Said { octets: Vec::new(), cut }));
        }
    }

    fn tell(&self, what: What) {
        let ms = mx6_runtime::now_ms().saturating_sub(self.accepted_at_ms);
        self.tracing.tell(Event { session: self.session_id.clone(), ms, what });
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.tell_cut();
        self.tell(What::End);
    }
}
