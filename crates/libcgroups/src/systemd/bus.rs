//! A conversation with systemd over D-Bus (the D-Bus specification; org.freedesktop.systemd1(5)).
//!
//! zvariant has the encoding. The rest is what a runtime needs and no library has: the connection is
//! another process's ([`connect`]), everything has one deadline, and there is no thread.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use zvariant::serialized::{Context, Data};
use zvariant::{DynamicType, LE, ObjectPath, Signature, Type, Value};

use crate::Error;

/// How long everything that is asked of systemd may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The longest message that is read, in bytes; the answers that are awaited are short.
const LONGEST: usize = 1 << 20;
/// Length of a message's fixed header with the length of its fields, in bytes.
const FIXED_HEADER: usize = 16;
/// Authentication as the user whose process has connected, as the socket says (the D-Bus
/// specification, "Authentication Protocol": `EXTERNAL` without an identity). All at once, as what
/// the bus answers changes nothing of it.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// Types of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// Numbers of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A header field of a message that is sent.
enum Field<'a> {
    Value(Value<'a>),
    /// The signature of the body's values, one after the other: as a value of its own it would be that of
    /// one structure.
    Signature(&'a str),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Signature(text) => {
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", text)?;
                variant.end()
            }
        }
    }
}

/// Who answers a call.
#[derive(Clone, Copy)]
struct Target {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
}

const DAEMON: Target = Target {
    name: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
const MANAGER: Target = Target {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const JOBS: &str = "type='signal',sender='org.freedesktop.systemd1',\
                    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// Connects to the bus at `socket`, and says nothing yet. Whoever calls this is whom the bus and systemd
/// take the connection's messages to be from, whichever process sends them: the kernel tells them who
/// it was, in their own pid namespace (unix(7), `SO_PEERCRED`).
///
/// # Errors
/// Those of connect(2); `EAGAIN` if the bus takes no more.
pub(crate) fn connect(socket: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connection =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&connection, &SocketAddrUnix::new(socket)?)?;
    Ok(connection)
}

/// A bus that has been greeted.
pub(super) struct Conversation {
    connection: OwnedFd,
    socket: PathBuf,
    deadline: Instant,
    serial: u32,
    heard: Vec<u8>,
    /// Jobs that are done, with their results.
    done: Vec<Done>,
}

struct Done {
    job: String,
    result: String,
}

/// What systemd or the bus refuses a call with.
pub(super) struct Refusal {
    /// Its name, such as `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A message that has come.
struct Message {
    kind: u8,
    member: String,
    error: String,
    answers: u32,
    body: Vec<u8>,
}

impl Conversation {
    /// Greets the bus at `socket` over `connection`, and asks to be told of jobs that are done.
    pub(super) fn begin(connection: OwnedFd, socket: &Path) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let (heard, done) = (Vec::new(), Vec::new());
        let mut this =
            Self { connection, socket: socket.to_owned(), deadline, serial: 0, heard, done };
        this.send(GREETING)?;
        for expected in ["DATA", "OK "] {
            let line = this.line()?;
            if !line.starts_with(expected) {
                return Err(this.failed(format!("it does not let the runtime in: {line:?}")));
            }
        }
        this.ask(DAEMON, "Hello", "", &())?;
        this.ask(DAEMON, "AddMatch", "s", &(JOBS,))?;
        Ok(this)
    }

    /// Starts a transient unit. The job.
    pub(super) fn start(
        &mut self,
        unit: &str,
        properties: &[(&str, Value<'_>)],
    ) -> Result<Result<String, Refusal>, Error> {
        let none: &[(&str, Vec<(&str, Value<'_>)>)] = &[];
        let body = (unit, "fail", properties, none);
        self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", &body)
    }

    /// Changes properties of a unit, for as long as it is there.
    pub(super) fn set(
        &mut self,
        unit: &str,
        properties: &[(&str, Value<'_>)],
    ) -> Result<Result<(), Refusal>, Error> {
        let answer =
            self.call(MANAGER, "SetUnitProperties", "sba(sv)", &(unit, true, properties))?;
        Ok(answer.map(|_| ()))
    }

    /// Stops a unit. The job.
    pub(super) fn stop(&mut self, unit: &str) -> Result<Result<String, Refusal>, Error> {
        self.job("StopUnit", "ss", &(unit, "replace"))
    }

    /// Forgets that a unit failed, if it did.
    pub(super) fn reset(&mut self, unit: &str) -> Result<(), Error> {
        self.call(MANAGER, "ResetFailedUnit", "s", &(unit,)).map(|_| ())
    }

    /// Waits until `job` is done. Its result.
    pub(super) fn wait(&mut self, job: &str) -> Result<String, Error> {
        loop {
            if let Some(done) = self.done.iter().find(|done| done.job == job) {
                return Ok(done.result.clone());
            }
            let message = self.message()?;
            self.note(&message);
        }
    }

    fn job(
        &mut self,
        method: &str,
        signature: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Result<String, Refusal>, Error> {
        let answer = match self.call(MANAGER, method, signature, body)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let data = Data::new(&answer[..], context());
        let job = data.deserialize::<(ObjectPath<'_>,)>();
        let ((job,), _) = job.map_err(|error| self.failed(error.to_string()))?;
        Ok(Ok(job.to_string()))
    }

    /// A call that nothing but a defect refuses.
    fn ask(
        &mut self,
        target: Target,
        method: &str,
        signature: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Vec<u8>, Error> {
        let answer = self.call(target, method, signature, body)?;
        answer.map_err(|Refusal { name, text }| self.failed(format!("{method}: {name}: {text}")))
    }

    /// The body of the answer.
    fn call(
        &mut self,
        target: Target,
        method: &str,
        signature: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Result<Vec<u8>, Refusal>, Error> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = encode(target, method, Body { serial, signature, value: body })
            .map_err(|error| self.failed(format!("{method} cannot be encoded: {error}")))?;
        self.send(&bytes)?;
        loop {
            let message = self.message()?;
            self.note(&message);
            match message.kind {
                RETURN if message.answers == serial => return Ok(Ok(message.body)),
                ERROR if message.answers == serial => {
                    let data = Data::new(&message.body[..], context());
                    let text = data.deserialize::<(String,)>();
                    let text = text.map(|(text, _)| text.0).unwrap_or_default();
                    return Ok(Err(Refusal { name: message.error, text }));
                }
                _ => {}
            }
        }
    }

    /// Remembers a job that is done. Others' are told of, too.
    fn note(&mut self, message: &Message) {
        if message.kind == SIGNAL && message.member == "JobRemoved" {
            let data = Data::new(&message.body[..], context());
            let body = data.deserialize::<(u32, ObjectPath<'_>, String, String)>();
            if let Ok(((_, job, _, result), _)) = body {
                self.done.push(Done { job: job.to_string(), result });
            }
        }
    }

    /// The next line of the authentication.
    fn line(&mut self) -> Result<String, Error> {
        loop {
            if let Some(end) = self.heard.windows(2).position(|two| two == b"\r\n") {
                let line = self.heard.drain(..end + 2).take(end).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.hear()?;
        }
    }

    /// The next message.
    fn message(&mut self) -> Result<Message, Error> {
        loop {
            let length = self.length()?;
            if let Some((body, end)) = length.filter(|(_, end)| self.heard.len() >= *end) {
                let bytes: Vec<u8> = self.heard.drain(..end).collect();
                return decode(&bytes, body).map_err(|error| self.failed(error.to_string()));
            }
            self.hear()?;
        }
    }

    /// Where the body of the message that is being heard begins and ends, when that is known.
    fn length(&self) -> Result<Option<(usize, usize)>, Error> {
        let number = |at: usize| {
            let bytes = self.heard.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (Some(&order), Some(body), Some(fields)) =
            (self.heard.first(), number(4), number(FIXED_HEADER - 4))
        else {
            return Ok(None);
        };
        if order != b'l' || body > LONGEST || fields > LONGEST {
            return Err(self.failed("it says what is no message, or too long a one".to_owned()));
        }
        let start = (FIXED_HEADER + fields).next_multiple_of(8);
        Ok(Some((start, start + body)))
    }

    fn hear(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(&self.connection, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(self.closed()),
                Ok((length, _)) => {
                    self.heard.extend(buffer.get(..length).unwrap_or_default());
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.wait_for(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(self.closed()),
                Err(errno) => return Err(self.failed(format!("recv: {errno}"))),
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.connection, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(self.closed()),
                Err(errno) => return Err(self.failed(format!("send: {errno}"))),
            }
        }
        Ok(())
    }

    fn wait_for(&self, flags: PollFlags) -> Result<(), Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = PATIENCE.as_secs();
            return Err(self.failed(format!("it does not answer within {seconds} s")));
        }
        let timeout = Timespec::try_from(left).ok();
        match poll(
            &mut [PollFd::from_borrowed_fd(self.connection.as_fd(), flags)],
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(self.failed(format!("poll: {errno}"))),
        }
    }

    fn closed(&self) -> Error {
        self.failed("it has closed the connection".to_owned())
    }

    fn failed(&self, what: String) -> Error {
        Error::Bus { socket: self.socket.clone(), what }
    }
}

fn context() -> Context {
    Context::new_dbus(LE, 0)
}

/// What a call carries.
struct Body<'a, T> {
    serial: u32,
    signature: &'a str,
    value: &'a T,
}

fn encode<T: Serialize + DynamicType>(
    target: Target,
    method: &str,
    body: Body<'_, T>,
) -> zvariant::Result<Vec<u8>> {
    let carried = if body.signature.is_empty() {
        Vec::new()
    } else {
        zvariant::to_bytes(context(), body.value)?.to_vec()
    };
    let mut fields = vec![
        (PATH, Field::Value(Value::from(ObjectPath::try_from(target.path)?))),
        (INTERFACE, Field::Value(Value::from(target.interface))),
        (MEMBER, Field::Value(Value::from(method))),
        (DESTINATION, Field::Value(Value::from(target.name))),
    ];
    if !body.signature.is_empty() {
        fields.push((SIGNATURE, Field::Signature(body.signature)));
    }
    let length = u32::try_from(carried.len()).unwrap_or(u32::MAX);
    let header = (b'l', CALL, 0_u8, 1_u8, length, body.serial, fields);
    let mut bytes = zvariant::to_bytes(context(), &header)?.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(carried);
    Ok(bytes)
}

fn decode(bytes: &[u8], body: usize) -> zvariant::Result<Message> {
    let header = Data::new(bytes, context());
    let ((_, kind, _, _, _, _, fields), _) =
        header.deserialize::<(u8, u8, u8, u8, u32, u32, Vec<(u8, Value<'_>)>)>()?;
    let (mut member, mut error, mut answers) = (String::new(), String::new(), 0);
    for (number, value) in fields {
        match (number, value) {
            (MEMBER, Value::Str(text)) => member = text.to_string(),
            (ERROR_NAME, Value::Str(text)) => error = text.to_string(),
            (REPLY_SERIAL, Value::U32(serial)) => answers = serial,
            _ => {}
        }
    }
    let body = bytes.get(body..).unwrap_or_default().to_vec();
    Ok(Message { kind, member, error, answers, body })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use super::{Body, Conversation, DAEMON, GREETING, JOBS, encode};

    /// The D-Bus specification, "Message Format": with everything where its alignment has it.
    #[test]
    fn a_call_is_what_the_specification_says() {
        let body = Body { serial: 2, signature: "s", value: &("ab",) };
        let bytes = encode(DAEMON, "AddMatch", body).unwrap();
        let header = [b'l', 1, 0, 1, 7, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(bytes[..12], header);
        assert_eq!(bytes[16..24], [1, 1, b'o', 0, 21, 0, 0, 0]);
        // The signature is that of the values, not of a structure of them.
        let signature = bytes.windows(7).any(|seven| seven == [8, 1, b'g', 0, 1, b's', 0]);
        assert!(signature, "{bytes:?}");
        assert_eq!(bytes[bytes.len() - 7..], [2, 0, 0, 0, b'a', b'b', 0]);
        assert_eq!((bytes.len() - 7) % 8, 0);
    }

    /// What a bus that answers with `bytes` is told, and what is then said of it.
    fn said_of(bytes: &[u8]) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let began = Conversation::begin(ours.into(), Path::new("/bus"));
        let mut greeting = vec![0; GREETING.len()];
        theirs.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, GREETING);
        began.err().unwrap().to_string()
    }

    #[test]
    fn a_bus_that_is_none_is_an_error() {
        assert!(said_of(b"").ends_with("it has closed the connection"));
        assert!(said_of(b"DATA\r\n").ends_with("it has closed the connection"));
        assert!(said_of(b"REJECTED EXTERNAL\r\n").contains("let the runtime in"));
        let big_endian = b"DATA\r\nOK 1\r\nB\x02\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0";
        assert!(said_of(big_endian).contains("no message"));
        let too_long = b"DATA\r\nOK 1\r\nl\x02\0\x01\xff\xff\xff\x7f\0\0\0\x01\0\0\0\0";
        assert!(said_of(too_long).contains("too long"));
        let nonsense = b"DATA\r\nOK 1\r\nl\x02\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(said_of(nonsense).starts_with("D-Bus at /bus: "));
    }

    #[test]
    fn jobs_are_asked_for_in_one_line() {
        assert!(!JOBS.contains(' ') && JOBS.ends_with("member='JobRemoved'"));
    }
}
