//! One session's end of a live trace. Most sessions have none: then it costs a look at a pointer.

use mx6_telemetry::{Event, Said, Tracing, What};

/// Tells what is said in a session.
pub(crate) struct Tap {
    tracing: Tracing,
    session_id: String,
    accepted_at_ms: u64,
    /// Octets of each message that are told.
    message_octets: u64,
    /// Octets of the present message that may still be told, and those that were left out since.
    left: u64,
    cut: u64,
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
        let tap = Tap { tracing, session_id, accepted_at_ms, message_octets, left: message_octets, cut: 0 };
        tap.tell(What::Connect { client });
        Some(Box::new(tap))
    }

    /// The client sent `octets`, of a message or between messages.
    pub(crate) fn client(&mut self, octets: &[u8], of_message: bool) {
        if octets.is_empty() {
            return;
        }
        if !of_message {
            self.end_of_message();
            self.tell(What::Client(Said { octets: octets.to_vec(), cut: 0 }));
            return;
        }
        let kept = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
        self.left -= kept as u64;
        self.cut += (octets.len() - kept) as u64;
        if kept > 0 {
            self.tell(What::Client(Said { octets: octets[..kept].to_vec(), cut: 0 }));
        }
    }

    /// The gate sent `octets`.
    pub(crate) fn server(&mut self, octets: &[u8]) {
        self.end_of_message();
        self.tell(What::Server(Said { octets: octets.to_vec(), cut: 0 }));
    }

    /// The session goes on inside TLS.
    pub(crate) fn tls(&self, version: &str) {
        self.tell(What::Tls { version: version.to_owned() });
    }

    /// A decision fell; `record` is its line.
    pub(crate) fn decision(&self, record: &[u8]) {
        if let Ok(record) = serde_json::from_slice(record) {
            self.tell(What::Decision { record });
        }
    }

    /// What was left out of a message is told once, behind what was not.
    fn end_of_message(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            self.tell(What::Client(Said { octets: Vec::new(), cut }));
        }
        self.left = self.message_octets;
    }

    fn tell(&self, what: What) {
        let ms = mx6_runtime::now_ms().saturating_sub(self.accepted_at_ms);
        self.tracing.tell(Event { session: self.session_id.clone(), ms, what });
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end_of_message();
        self.tell(What::End);
    }
}
