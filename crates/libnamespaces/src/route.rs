//! rtnetlink(7): a socket in a network namespace, and messages about links and addresses.

use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Nla as _, NlasIterator, Parseable as _,
};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Types of messages (linux/rtnetlink.h).
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Attributes of a link (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
/// Attributes of an address (linux/if_addr.h).
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
/// A flag of an address that does not expire (linux/if_addr.h).
const IFA_F_PERMANENT: u8 = 0x80;
/// The flag of a link that is up (linux/if.h).
const IFF_UP: u32 = 1;
/// The index of the loopback interface, the first one of each namespace (include/net/flow.h,
/// `LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// The kernel's port (netlink(7), `nl_pid`).
const KERNEL: u32 = 0;
/// The kernel's packets are no longer (net/netlink/af_netlink.c, `netlink_dump`).
const LONGEST_PACKET: usize = 32 * 1024;

/// Brings the loopback interface of the caller's network namespace up.
///
/// # Errors
/// Those of socket(2) and of `RTM_SETLINK`.
pub fn bring_loopback_up() -> Result<(), Error> {
    let message = Message::set_link(LOOPBACK).with_state(true);
    RouteSocket::new()
        .and_then(|socket| socket.ask(message, 0))
        .map_err(Error::call("bring up the loopback interface: RTM_SETLINK"))?;
    Ok(())
}

/// A message: `struct ifinfomsg` or `struct ifaddrmsg`, then attributes. Both structures have the
/// index of the device in their second word.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    kind: u16,
    words: Vec<[u8; 4]>,
    attributes: Vec<DefaultNla>,
}

impl Message {
    /// Asks for the link `name`.
    pub(crate) fn get_link(name: &str) -> Self {
        Self::link(RTM_GETLINK, 0).with_name(name)
    }

    /// Changes the link `index`.
    pub(crate) fn set_link(index: u32) -> Self {
        Self::link(RTM_SETLINK, index)
    }

    /// Asks for all addresses.
    pub(crate) fn get_addresses() -> Self {
        Self { kind: RTM_GETADDR, words: vec![[0; 4]; 2], attributes: Vec::new() }
    }

    fn link(kind: u16, index: u32) -> Self {
        let mut words = vec![[0; 4]; 4];
        words[1] = index.to_ne_bytes();
        Self { kind, words, attributes: Vec::new() }
    }

    /// The link's new name, or the name to look for.
    pub(crate) fn with_name(mut self, name: &str) -> Self {
        let name = [name.as_bytes(), b"\0"].concat();
        self.attributes.push(DefaultNla::new(IFLA_IFNAME, name));
        self
    }

    /// The link's new namespace.
    pub(crate) fn with_namespace(mut self, descriptor: i32) -> Self {
        let descriptor = descriptor.to_ne_bytes().to_vec();
        self.attributes.push(DefaultNla::new(IFLA_NET_NS_FD, descriptor));
        self
    }

    /// Whether the link is to be up: `ifi_flags`, and in `ifi_change` which of them count.
    pub(crate) fn with_state(mut self, is_up: bool) -> Self {
        let flags = if is_up { IFF_UP } else { 0 };
        self.words[2..4].copy_from_slice(&[flags.to_ne_bytes(), IFF_UP.to_ne_bytes()]);
        self
    }

    /// The index of the link, or of an address's link.
    pub(crate) fn index(&self) -> u32 {
        u32::from_ne_bytes(self.words[1])
    }

    /// Whether the link is up.
    pub(crate) fn is_up(&self) -> bool {
        u32::from_ne_bytes(self.words[2]) & IFF_UP != 0
    }

    /// Whether it is an address that does not expire (`ifa_flags`).
    pub(crate) fn is_permanent(&self) -> bool {
        self.kind == RTM_NEWADDR && self.words[0][2] & IFA_F_PERMANENT != 0
    }

    /// Whether the address holds everywhere (`ifa_scope`, of which zero is `RT_SCOPE_UNIVERSE`).
    pub(crate) fn is_global(&self) -> bool {
        self.words[0][3] == 0
    }

    /// The address for another link. An IPv4 label begins with the name of its link; for an
    /// address that lasts there is nothing to say about how long.
    pub(crate) fn of_link(&self, index: u32) -> Self {
        let mut address = self.clone();
        address.words[1] = index.to_ne_bytes();
        address.attributes.retain(|one| !matches!(one.kind(), IFA_LABEL | IFA_CACHEINFO));
        address
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.words.len() * 4 + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (head, tail) = buffer.split_at_mut(self.words.len() * 4);
        head.copy_from_slice(self.words.as_flattened());
        self.attributes.as_slice().emit(tail);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    /// What is cut short has no more words or attributes.
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let kind = header.message_type;
        let length = if matches!(kind, RTM_NEWADDR) { 2 } else { 4 };
        let (head, tail) = payload.split_at_checked(length * 4).unwrap_or((payload, &[]));
        let mut words = head.as_chunks().0.to_vec();
        words.resize(length, [0; 4]);
        let attributes = NlasIterator::new(tail).map_while(Result::ok);
        let attributes = attributes.filter_map(|one| DefaultNla::parse(&one).ok()).collect();
        Ok(Self { kind, words, attributes })
    }
}

/// A socket in a network namespace, which also keeps the namespace alive.
#[derive(Debug)]
pub(crate) struct RouteSocket {
    socket: OwnedFd,
    /// Of the question asked last.
    sequence: Cell<u32>,
}

impl RouteSocket {
    /// In the namespace of this process.
    pub(crate) fn new() -> Result<Self, Errno> {
        // No protocol is the number of NETLINK_ROUTE.
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, SocketType::RAW, flags, None)?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// In the namespace `other`, from that of this process, `own`.
    pub(crate) fn of(other: &OwnedFd, own: &OwnedFd) -> Result<Self, Errno> {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(other.as_fd(), kind)?;
        let socket = Self::new();
        move_into_link_name_space(own.as_fd(), kind)?;
        socket
    }

    fn next_sequence(&self) -> u32 {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        self.sequence.get()
    }

    /// Sends a message, with `NLM_F_*`, and receives what is answered.
    pub(crate) fn ask(&self, message: Message, flags: u16) -> Result<Vec<Message>, Errno> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.next_sequence();
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let mut answers = Vec::new();
        while !self.receive(header.sequence_number, &mut answers)? {}
        Ok(answers)
    }

    /// Receives one packet of the answer to `sequence`; whether it was the last. Whatever else comes is not from the
    /// kernel, or of an earlier question.
    fn receive(&self, sequence: u32, answers: &mut Vec<Message>) -> Result<bool, Errno> {
        let mut bytes = vec![0; LONGEST_PACKET];
        let (length, _, sender) =
            rustix::net::recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty())?;
        let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
        if sender.is_none_or(|sender| sender.pid() != KERNEL) {
            return Ok(false);
        }
        let mut rest = bytes.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest).map_err(|_| Errno::PROTO)?;
            // Messages begin at multiples of four bytes (netlink(7)).
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if message.header.sequence_number != sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => {
                    let Some(code) = error.code else { return Ok(true) };
                    return Err(Errno::from_raw_os_error(-code.get()));
                }
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{
        DoneMessage, NLM_F_DUMP, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
    };
    use rustix::net::SendFlags;

    use super::{IFA_LABEL, LOOPBACK, Message, RouteSocket};

    /// The kernel's own answers about the loopback interface, which every namespace has.
    #[test]
    fn the_loopback_interface() {
        let socket = RouteSocket::new().unwrap();
        let links = socket.ask(Message::get_link("lo"), 0).unwrap();
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].index(), LOOPBACK);
        let missing = socket.ask(Message::get_link("no-such-device"), 0);
        assert_eq!(missing.unwrap_err(), rustix::io::Errno::NODEV);
        let addresses = socket.ask(Message::get_addresses(), NLM_F_DUMP).unwrap();
        let of_loopback = addresses.iter().filter(|address| address.index() == LOOPBACK);
        for address in of_loopback {
            assert!(address.is_permanent() && !address.is_global(), "{address:?}");
            let other = address.of_link(7);
            assert_eq!(other.index(), 7);
            assert!(other.attributes.iter().all(|one| one.kind() != IFA_LABEL));
        }
    }

    /// Another process of the namespace may send to the port of a socket that asks. Without the right to it the
    /// kernel refuses (netlink(7)), and there is nothing to tell apart.
    #[test]
    fn answers_are_the_kernels() {
        let socket = RouteSocket::new().unwrap();
        socket.ask(Message::get_link("lo"), 0).unwrap();
        let port = rustix::net::getsockname(&socket.socket).unwrap();
        let liar = RouteSocket::new().unwrap();
        let mut header = NetlinkHeader::default();
        header.sequence_number = socket.sequence.get() + 1;
        let done = NetlinkPayload::<Message>::Done(DoneMessage::default());
        let mut lie = NetlinkMessage::new(header, done);
        lie.finalize();
        let mut bytes = vec![0; lie.buffer_len()];
        lie.serialize(&mut bytes);
        match rustix::net::sendto(&liar.socket, &bytes, SendFlags::empty(), &port) {
            Ok(_) => {}
            Err(errno) => assert_eq!(errno, rustix::io::Errno::PERM),
        }
        assert_eq!(socket.ask(Message::get_link("lo"), 0).unwrap().len(), 1);
    }
}
