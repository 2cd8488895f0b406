//! The octets of a client once more through a real session.
//!
//! Commands are answered as they were then, so that what the client sent means what it meant: a refused recipient is followed by no message. What would be
//! answered now is judged afterwards (`judge`). The n-th reply of this session stands where the n-th of then stood, as a session answers each command once.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mx6_message_auth::MessageAuth;
use mx6_policy::facts::{Facts, Iprev, Spf};
use mx6_smtp::{
    ForwardPath, MessageFault, Notice, Question, Reply, ReversePath, Session, SessionConfig, Step, Verdict,
};
use mx6_telemetry::Counters;

use super::then::{Replies, Said};
use crate::dkim_batch::DkimBatch;
use crate::evaluation::Evaluation;
use crate::explain::{ExplainError, pipeline};
use crate::pending::Pending;
use crate::portions::Portions;
use crate::transaction::served_form;

/// What was said in a session.
pub(super) struct Conversation {
    /// The HELO name last given.
    pub(super) helo: String,
    /// The version of TLS, once inside it.
    pub(super) tls: Option<String>,
    pub(super) transactions: Vec<Transaction>,
    /// Replies of the session itself, with the command and the place among the replies.
    pub(super) own: Vec<(usize, String)>,
    /// All replies of this session.
    pub(super) replies: Vec<Said>,
}

/// From MAIL to its end, and what is known of it.
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    /// None if its first octet never came.
    pub(super) message: Option<Message>,
    pub(super) facts: Facts,
    pub(super) author: Option<String>,
    pub(super) received_fields: usize,
}

/// What was said of the message before it came.
pub(super) struct Envelope {
    pub(super) helo: String,
    pub(super) in_tls: bool,
    /// As records have it.
    pub(super) mail_from: String,
    /// Local part and domain; none for the null reverse-path.
    pub(super) reverse_path: Option<(String, String)>,
    /// As declared.
    pub(super) size: Option<u64>,
    pub(super) mail_then: Option<Said>,
    pub(super) recipients: Vec<Recipient>,
    /// What was answered to DATA if that was refused.
    pub(super) data_then: Option<Said>,
}

pub(super) struct Recipient {
    /// As records have it.
    pub(super) path: String,
    /// As domains are served; none for `<postmaster>`.
    pub(super) domain: Option<String>,
    pub(super) then: Option<Said>,
}

/// What there is of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    /// Octets in the transcript.
    pub(super) octets: u64,
    /// Octets that were left out of it, those of the framing included.
    pub(super) left_out: u64,
    /// The header section is in it to its end.
    pub(super) header_is_whole: bool,
    /// Its end came, and the gate was asked for it.
    pub(super) has_ended: bool,
    pub(super) fault: Option<MessageFault>,
    pub(super) then: Option<Said>,
}

impl Message {
    /// Whether every octet is known.
    pub(super) fn is_whole(&self) -> bool {
        self.has_ended && self.left_out == 0
    }
}

/// Where the client speaks from, and who looks names up.
pub(super) struct Surroundings<'a> {
    pub(super) auth: &'a MessageAuth,
    pub(super) batch: &'a Rc<DkimBatch>,
    pub(super) client: IpAddr,
    pub(super) iprev: &'a Iprev,
}

/// A session that listens again.
pub(super) struct Listening<'a> {
    around: Surroundings<'a>,
    /// The replies of then.
    then: &'a [Said],
    session: Session,
    now: Replies,
    /// What the session has not taken yet.
    unread: Vec<u8>,
    /// The last octet that was given to the session.
    last_octet: u8,
    portions: Portions,
    command: String,
    is_handshaking: bool,
    is_over: bool,
    open: Option<Open>,
    heard: Conversation,
}

/// The transaction under way.
struct Open {
    envelope: Envelope,
    message: Option<Message>,
    evaluation: Evaluation,
    spf: Spf,
    in_body: bool,
}

impl<'a> Listening<'a> {
    pub(super) fn new(around: Surroundings<'a>, then: &'a [Said], config: SessionConfig) -> Listening<'a> {
        let heard = Conversation {
            helo: String::new(),
            tls: None,
            transactions: Vec::new(),
            own: Vec::new(),
            replies: Vec::new(),
        };
        let mut listening = Listening {
            around,
            then,
            session: Session::new(Arc::new(config), 0),
            now: Replies::default(),
            unread: Vec::new(),
            last_octet: b'\n',
            portions: Portions::default(),
            command: String::new(),
            is_handshaking: false,
            is_over: false,
            open: None,
            heard,
        };
        listening.take_output();
        listening
    }

    /// The client sent `octets`.
    pub(super) async fn client(&mut self, octets: &[u8]) -> Result<(), ExplainError> {
        if self.is_handshaking {
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.unread);
        input.extend_from_slice(octets);
        let mut at = 0;
        while !self.is_over {
            let rest = &input[at..];
            // One command at a time, so that each reply can be told with its command.
            let dotted = self.portions.dotted(self.session.receiving_message());
            let (piece, of_message) = self.portions.first(rest, dotted);
            let (mut taken, mut goes_on) = self.turn(piece, of_message).await?;
            if taken == 0 && !goes_on && piece.len() < rest.len() {
                (taken, goes_on) = self.turn(rest, of_message).await?;
            }
            at += taken;
            if self.is_handshaking {
                at = input.len();
                break;
            }
            if !goes_on && (taken == 0 || at == input.len()) {
                break;
            }
        }
        self.unread = input.split_off(at);
        Ok(())
    }

    /// So many octets of a message follow that are not in the transcript.
    pub(super) async fn left_out(&mut self, octets: u64) -> Result<(), ExplainError> {
        if !self.session.receiving_message() {
            return Ok(());
        }
        // None is there of a chunk that nobody wants.
        if let Some(message) = self.open.as_mut().and_then(|open| open.message.as_mut()) {
            message.left_out += octets;
        }
        if self.portions.in_chunks() {
            return self.fill(octets).await;
        }
        // They reach to the end of the message, if that is answered.
        if self.then.len() <= self.now.whole.len() {
            return Ok(());
        }
        match self.last_octet {
            b'\n' => {}
            b'\r' => self.client(b"\n").await?,
            _ => self.client(b"\r\n").await?,
        }
        if self.session.receiving_message() {
            self.client(b".\r\n").await?;
        }
        Ok(())
    }

    /// As many octets of a chunk as are missing.
    async fn fill(&mut self, mut octets: u64) -> Result<(), ExplainError> {
        if self.last_octet == b'\r' && octets > 0 {
            octets -= 1;
            self.client(b"\n").await?;
        }
        while octets > 0 && !self.is_over {
            let count = octets.min(FILLER.len() as u64);
            octets -= count;
            self.client(&FILLER[..usize::try_from(count).unwrap_or(FILLER.len())]).await?;
        }
        Ok(())
    }

    /// The session went on inside TLS.
    pub(super) async fn tls(&mut self, version: &str) -> Result<(), ExplainError> {
        if !std::mem::take(&mut self.is_handshaking) {
            return Ok(());
        }
        self.heard.tls = Some(version.to_owned());
        self.portions = Portions::default();
        self.session.tls_established(0);
        self.client(b"").await
    }

    /// The session ended.
    pub(super) async fn end(mut self) -> Result<Conversation, ExplainError> {
        self.close_transaction().await?;
        self.heard.replies = self.now.whole;
        Ok(self.heard)
    }

    /// One step of the session; how many octets it took, and whether it goes on by itself.
    async fn turn(&mut self, piece: &[u8], of_message: bool) -> Result<(usize, bool), ExplainError> {
        let (taken, step) = self.session.step(0, piece);
        if let Some(last) = piece[..taken].last() {
            self.last_octet = *last;
            self.portions.took(&piece[..taken], of_message);
            if !of_message {
                self.command = String::from_utf8_lossy(&piece[..taken]).trim_end().to_owned();
            }
        }
        let before = self.now.whole.len();
        self.take_output();
        let own = before..self.now.whole.len();
        self.heard.own.extend(own.map(|number| (number, self.command.clone())));
        match step {
            Step::NeedInput => return Ok((taken, false)),
            Step::Output => {}
            Step::Octets(octets) => self.message_octets(octets).await?,
            Step::Notice(Notice::HeaderComplete) => self.header_complete(),
            Step::Notice(Notice::TransactionReset) => self.close_transaction().await?,
            Step::Notice(Notice::EarlyTalker) => {}
            Step::StartTls => self.is_handshaking = true,
            Step::Close => self.is_over = true,
            Step::Question(question) => {
                let verdict = self.ask(question).await?;
                self.session.verdict(0, verdict);
                self.take_output();
            }
        }
        Ok((taken, !self.is_handshaking))
    }

    fn take_output(&mut self) {
        let output = self.session.output();
        let octets = output.len();
        self.now.push(output);
        self.session.output_written(octets);
    }

    /// What was answered then.
    async fn ask(&mut self, question: Question<'_>) -> Result<Verdict, ExplainError> {
        let then = self.then.get(self.now.whole.len()).cloned();
        match question {
            Question::Helo { domain, .. } => domain.clone_into(&mut self.heard.helo),
            Question::Mail { reverse_path, size, .. } => self.begin(&reverse_path, size, then.clone()).await?,
            Question::Rcpt { forward_path, .. } => {
                let (path, domain) = match forward_path {
                    ForwardPath::Postmaster => ("postmaster".to_owned(), None),
                    ForwardPath::Mailbox(mailbox) => (mailbox.to_string(), Some(served_form(mailbox.domain.as_str()))),
                };
                if let Some(open) = &mut self.open {
                    open.envelope.recipients.push(Recipient { path, domain, then: then.clone() });
                }
            }
            // The reply to a first chunk comes behind it.
            Question::Data if self.portions.in_chunks() => return Ok(self.message_begins()),
            Question::Data if then.as_ref().is_none_or(|said| said.code() == 354) => return Ok(self.message_begins()),
            Question::Data => {
                if let Some(open) = &mut self.open {
                    open.envelope.data_then.clone_from(&then);
                }
            }
            Question::EndOfData { fault } => {
                if let Some(open) = &mut self.open {
                    let message = open.message.get_or_insert_default();
                    (message.has_ended, message.fault, message.then) = (true, fault, then.clone());
                }
                self.close_transaction().await?;
            }
        }
        Ok(match then {
            Some(said) if !said.is_positive() => Verdict::refuse(Reply::new(said.code(), None, said.text())),
            _ => Verdict::Accept,
        })
    }

    async fn begin(
        &mut self,
        reverse_path: &ReversePath<'_>,
        size: Option<u64>,
        mail_then: Option<Said>,
    ) -> Result<(), ExplainError> {
        let identity = pipeline::identity_of(reverse_path);
        let helo = self.heard.helo.clone();
        let borrowed = identity.as_ref().map(|(local_part, domain)| (local_part.as_str(), domain.as_str()));
        let spf = self.around.auth.spf(self.around.client, &helo, borrowed, true).await;
        let is_refused = mail_then.as_ref().is_some_and(|said| !said.is_positive());
        let envelope = Envelope {
            helo,
            in_tls: self.heard.tls.is_some(),
            mail_from: reverse_path.to_string(),
            reverse_path: identity,
            size,
            mail_then,
            recipients: Vec::new(),
            data_then: None,
        };
        let evaluation = Evaluation::new(self.around.batch);
        self.open = Some(Open { envelope, message: None, evaluation, spf, in_body: false });
        if is_refused {
            self.close_transaction().await?;
        }
        Ok(())
    }

    fn message_begins(&mut self) -> Verdict {
        if let Some(open) = &mut self.open {
            open.message = Some(Message::default());
        }
        Verdict::Accept
    }

    async fn message_octets(&mut self, octets: &[u8]) -> Result<(), ExplainError> {
        let Some(Open { message, evaluation, in_body, .. }) = &mut self.open else { return Ok(()) };
        let Some(message) = message.as_mut().filter(|message| message.left_out == 0) else { return Ok(()) };
        message.octets += octets.len() as u64;
        if !*in_body {
            evaluation.header_octets(octets);
        } else if !evaluation.body_octets(octets, self.around.batch).await {
            return Err(ExplainError::Lost);
        }
        Ok(())
    }

    fn header_complete(&mut self) {
        let Some(Open { message, evaluation, in_body, .. }) = &mut self.open else { return };
        let Some(message) = message.as_mut().filter(|message| message.left_out == 0) else { return };
        message.header_is_whole = true;
        *in_body = true;
        evaluation.header_complete(self.around.auth, &Counters::default());
    }

    async fn close_transaction(&mut self) -> Result<(), ExplainError> {
        let Some(Open { envelope, message, mut evaluation, spf, .. }) = self.open.take() else { return Ok(()) };
        let facts = self.facts(&mut evaluation, &spf).await?;
        let author = evaluation.author_domain().map(str::to_owned);
        let received_fields = evaluation.received_fields();
        self.heard.transactions.push(Transaction { envelope, message, facts, author, received_fields });
        Ok(())
    }

    async fn facts(&self, evaluation: &mut Evaluation, spf: &Spf) -> Result<Facts, ExplainError> {
        let Surroundings { auth, batch, client, iprev } = &self.around;
        let mut iprev = Pending::known_at_once((*iprev).clone());
        let mut spf = Pending::known_at_once(spf.clone());
        evaluation.facts(auth, *client, &mut iprev, &mut spf, batch).await.ok_or(ExplainError::Lost)
    }
}

/// Stands for octets of a chunk that are not there.
const FILLER: [u8; 4096] = [b'x'; 4096];
