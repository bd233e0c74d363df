//! Hellos as bytes: a plain writer, and a plain reader of what a server looks at.

/// What a ClientHello says of the server that it means and of its protocols.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) sni: Option<Vec<u8>>,
    pub(crate) alpn: Vec<Vec<u8>>,
}

const SERVER_NAME: u16 = 0;
const SIGNATURES: u16 = 13;
const PROTOCOLS: u16 = 16;
const VERSIONS: u16 = 43;
/// One of those that nobody knows (RFC 8701).
const GREASE: u16 = 0x2a2a;

fn with_length<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[8 - N..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length::<2>(body)].concat()
}

impl Said {
    /// A message of a handshake (RFC 8446, 4.1.2), of a client that does TLS 1.3 and 1.2.
    pub(crate) fn message(&self, greases: bool, turned: bool) -> Vec<u8> {
        let mut extensions = vec![
            extension(SIGNATURES, &with_length::<2>(&[4, 3, 8, 4])),
            extension(VERSIONS, &with_length::<1>(&[3, 4, 3, 3])),
        ];
        if let Some(name) = &self.sni {
            let name = [&[0], &with_length::<2>(name)[..]].concat();
            extensions.push(extension(SERVER_NAME, &with_length::<2>(&name)));
        }
        if !self.alpn.is_empty() {
            let names: Vec<u8> = self
                .alpn
                .iter()
                .flat_map(|it| with_length::<1>(it))
                .collect();
            extensions.push(extension(PROTOCOLS, &with_length::<2>(&names)));
        }
        if greases {
            extensions.insert(0, extension(GREASE, &[]));
        }
        if turned {
            extensions.reverse();
        }
        let body = [
            &[3, 3][..],
            &[7; 32],
            &with_length::<1>(&[9; 32]),
            &with_length::<2>(&[0x13, 1, 0x13, 2]),
            &with_length::<1>(&[0]),
            &with_length::<2>(&extensions.concat()),
        ];
        [&[1], &with_length::<3>(&body.concat())[..]].concat()
    }

    /// What a client says that begins with these bytes; none as long as that cannot be told, or if it is no hello.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (mut bytes, mut message) = (Input(bytes), Vec::new());
        let hello = loop {
            if let Some(hello) = whole(&message) {
                break hello;
            }
            let head = bytes.take(3)?;
            if head[..2] != [22, 3] {
                return None;
            }
            let length = bytes.number(2)?;
            message.extend_from_slice(bytes.take(length)?);
        };
        let mut hello = Input(hello);
        hello.take(2 + 32)?;
        for wide in [1, 2, 1] {
            hello.block(wide)?;
        }
        let (mut all, mut said) = (Input(hello.block(2)?), Self::default());
        while !all.0.is_empty() {
            match (all.number(2)? as u16, Input(all.block(2)?)) {
                (SERVER_NAME, mut body) => said.sni = name(Input(body.block(2)?)),
                (PROTOCOLS, mut body) => {
                    let mut names = Input(body.block(2)?);
                    while !names.0.is_empty() {
                        said.alpn.push(names.block(1)?.to_vec());
                    }
                }
                _ => {}
            }
        }
        Some(said)
    }
}

/// As rustls tells it: in lower case, and without the dot that a name may end by.
pub(crate) fn server(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// In records of a size (5.1).
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part| [&[22, 3, 1], &with_length::<2>(part)[..]].concat();
    message.chunks(size).flat_map(record).collect()
}

fn name(mut list: Input<'_>) -> Option<Vec<u8>> {
    let is_host = list.take(1)? == [0];
    let name = list.block(2)?;
    is_host.then(|| name.to_vec())
}

/// The body of a hello, once it is there.
fn whole(message: &[u8]) -> Option<&[u8]> {
    let mut message = Input(message);
    let is_hello = message.take(1)? == [1];
    message.block(3).filter(|_| is_hello)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, many: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(many)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, wide: usize) -> Option<usize> {
        let digits = self.take(wide)?.iter();
        Some(digits.fold(0, |number, digit| number << 8 | usize::from(*digit)))
    }

    fn block(&mut self, wide: usize) -> Option<&'a [u8]> {
        let length = self.number(wide)?;
        self.take(length)
    }
}
