//! The typed channel between the runtime and the container's init.
//!
//! A `SOCK_SEQPACKET` socket pair: each message is one value of a closed enum, written as JSON,
//! with at most a few file descriptors on it. The two ends have mirrored types, so a program that
//! answers the wrong way round does not compile.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libsyscall::{Errno, packet};
use serde::{Serialize, de::DeserializeOwned};

/// The longest message in bytes. Only error texts come near it; they are cut by their sender.
pub const LONGEST: usize = 16 * 1024;

/// Why a message could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("{call}: {errno}")]
    Socket {
        /// The system call.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The other side ended.
    #[error("the other side of the channel is gone")]
    Closed,
    /// The message is not a value of the type.
    #[error("message: {0}")]
    Message(#[from] serde_json::Error),
}

/// One end: sends `Tx`, receives `Rx`.
#[derive(Debug)]
pub struct Channel<Tx, Rx> {
    socket: OwnedFd,
    types: PhantomData<fn(Tx) -> Rx>,
}

/// The system call by which a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// sendmsg(2), as all others do.
    Sendmsg,
    /// sendmmsg(2), where the other is out of reach.
    Sendmmsg,
}

/// A message in the form in which it is sent.
#[derive(Debug)]
pub struct Encoded<Tx> {
    bytes: Vec<u8>,
    types: PhantomData<fn(Tx)>,
}

impl<Tx: Serialize> Encoded<Tx> {
    /// That of `message`.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn new(message: &Tx) -> Result<Self, Error> {
        Ok(Self { bytes: serde_json::to_vec(message)?, types: PhantomData })
    }
}

/// Two connected ends with mirrored types.
pub type Pair<A, B> = (Channel<A, B>, Channel<B, A>);

/// Two connected ends.
///
/// # Errors
/// Those of socketpair(2).
pub fn pair<A, B>() -> Result<Pair<A, B>, Error> {
    let (left, right) = packet::pair().map_err(failed("socketpair"))?;
    Ok((Channel::from_socket(left), Channel::from_socket(right)))
}

impl<Tx, Rx> Channel<Tx, Rx> {
    /// A connected socket of type `SOCK_SEQPACKET` as one end.
    #[must_use]
    pub const fn from_socket(socket: OwnedFd) -> Self {
        Self { socket, types: PhantomData }
    }
}

impl<Tx, Rx> AsFd for Channel<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Tx: Serialize, Rx: DeserializeOwned> Channel<Tx, Rx> {
    /// Sends a message.
    ///
    /// # Errors
    /// [`Error::Closed`] if nobody listens any more, else what sendmsg(2) says.
    pub fn send(&self, message: &Tx, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let bytes = serde_json::to_vec(message)?;
        let sent = packet::send(self.socket.as_fd(), &bytes, descriptors);
        sent.map_err(not_sent("sendmsg"))
    }

    /// Sends a message with one descriptor by `call`, and by no other system call: not one for memory either.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_by(
        &self,
        call: Call,
        message: &Encoded<Tx>,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let (socket, bytes) = (self.socket.as_fd(), &message.bytes);
        match call {
            Call::Sendmsg => {
                packet::send(socket, bytes, &[descriptor]).map_err(not_sent("sendmsg"))
            }
            Call::Sendmmsg => {
                packet::send_by_sendmmsg(socket, bytes, descriptor).map_err(not_sent("sendmmsg"))
            }
        }
    }

    /// Waits for a message; nothing when the other side has ended.
    ///
    /// # Errors
    /// What recvmsg(2) says, or a message that is no `Rx`.
    pub fn receive(&self) -> Result<Option<(Rx, Vec<OwnedFd>)>, Error> {
        let mut buffer = [0; LONGEST];
        match packet::receive(self.socket.as_fd(), &mut buffer) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Ok(None),
            Ok((length, descriptors)) => {
                Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
            }
            Err(errno) => Err(failed("recvmsg")(errno)),
        }
    }

    /// Sends a message and waits for the answer.
    ///
    /// # Errors
    /// Those of both; [`Error::Closed`] if there is no answer.
    pub fn ask(&self, message: &Tx, descriptors: &[BorrowedFd<'_>]) -> Result<Rx, Error> {
        self.send(message, descriptors)?;
        self.answer()
    }

    /// Waits for the answer to what was sent.
    ///
    /// # Errors
    /// As [`Channel::receive`]; [`Error::Closed`] if there is no answer.
    pub fn answer(&self) -> Result<Rx, Error> {
        self.receive()?.map(|(reply, _)| reply).ok_or(Error::Closed)
    }
}

fn not_sent(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| match errno {
        Errno::PIPE | Errno::CONNRESET => Error::Closed,
        errno => Error::Socket { call, errno },
    }
}

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Socket { call, errno }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use serde::{Deserialize, Serialize};

    use super::{Call, Channel, Encoded, Error, pair};

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum Question {
        Ready,
        Failed { text: String },
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum Answer {
        Proceed,
    }

    fn ends() -> (Channel<Question, Answer>, Channel<Answer, Question>) {
        pair().unwrap()
    }

    #[test]
    fn a_question_is_answered() {
        let (asks, answers) = ends();
        answers.send(&Answer::Proceed, &[]).unwrap();
        assert_eq!(asks.ask(&Question::Ready, &[answers.as_fd()]).unwrap(), Answer::Proceed);
        let (question, descriptors) = answers.receive().unwrap().unwrap();
        assert_eq!((question, descriptors.len()), (Question::Ready, 1));
    }

    #[test]
    fn a_message_goes_by_either_call() {
        let (asks, answers) = ends();
        let message = Encoded::new(&Question::Ready).unwrap();
        for call in [Call::Sendmsg, Call::Sendmmsg] {
            asks.send_by(call, &message, answers.as_fd()).unwrap();
            let (question, descriptors) = answers.receive().unwrap().unwrap();
            assert_eq!((question, descriptors.len()), (Question::Ready, 1));
        }
        drop(answers);
        assert!(matches!(asks.answer(), Err(Error::Closed)));
    }

    #[test]
    fn an_end_that_is_gone_is_seen() {
        let (asks, answers) = ends();
        drop(asks);
        assert!(answers.receive().unwrap().is_none());
        assert!(matches!(answers.send(&Answer::Proceed, &[]), Err(Error::Closed)));
    }

    #[test]
    fn a_message_of_another_type_is_an_error() {
        let (asks, answers) = ends();
        answers.send(&Answer::Proceed, &[]).unwrap();
        let wrong: Channel<Answer, Question> =
            Channel::from_socket(asks.as_fd().try_clone_to_owned().unwrap());
        assert!(matches!(wrong.receive(), Err(Error::Message(_))));
        asks.send(&Question::Failed { text: String::new() }, &[]).unwrap();
    }
}
