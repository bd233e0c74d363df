//! `envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`: paths with holes.

use super::truth::Truth;

/// The most variables of a template, and the most bytes of a variable's name (Envoy's).
const VARIABLES: usize = 5;
const NAME: usize = 16;

/// A path with holes: `*` is one segment, `**` any rest of the path, `{name}` is `*`, and `{name=a/*}` has its own holes.
/// After `**` comes no other hole; a hole at the end may have text behind it, as in `/**.json`. The names are read and not
/// used. Envoy's `prefix{name}suffix` inside of one segment is refused, and so is `*` amid text, which Envoy takes for a
/// sign of a regular expression.
#[derive(Debug, Clone)]
pub struct UriTemplate {
    /// The segments up to `**`.
    segments: Box<[Segment]>,
    /// What follows `**`, slashes included; without it the path has no more segments.
    behind_rest: Option<Box<str>>,
}

#[derive(Debug, Clone)]
enum Segment {
    Text(Box<str>),
    /// A hole, and the text behind it.
    Hole(Box<str>),
}

/// What is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template:?} is no path template: {reason}")]
pub struct NotTemplate {
    template: Box<str>,
    reason: &'static str,
}

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is not of the form above.
    pub fn new(text: &str) -> Result<Self, NotTemplate> {
        let mut reader = Reader {
            rest: text,
            segments: Vec::new(),
            text: String::new(),
            has_hole: false,
            has_rest: false,
            names: Vec::new(),
        };
        match reader.path() {
            Ok(()) => Ok(reader.made()),
            Err(reason) => Err(NotTemplate {
                template: text.into(),
                reason,
            }),
        }
    }

    /// Whether a path without its query is of this form.
    ///
    /// A hole holds the characters that Envoy's takes. Of a path that would be of the form if its holes took any other
    /// character, as `[`, it is not known: what a server behind makes of such a path is its own affair.
    pub fn matches(&self, path: &str) -> Truth {
        let Some(mut rest) = path.strip_prefix('/') else {
            return Truth::No;
        };
        let mut truth = Truth::Yes;
        let last = self.segments.len().saturating_sub(1);
        for (at, segment) in self.segments.iter().enumerate() {
            let (one, after) = match rest.split_once('/') {
                Some((one, after)) => (one, Some(after)),
                None => (rest, None),
            };
            truth = match (segment.holds(one), truth) {
                (Truth::No, _) => return Truth::No,
                (Truth::Yes, truth) => truth,
                (Truth::Unknown, _) => Truth::Unknown,
            };
            match (after, at == last && self.behind_rest.is_none()) {
                (Some(after), false) => rest = after,
                (None, true) => return truth,
                _ => return Truth::No,
            }
        }
        let behind = self.behind_rest.as_deref().unwrap_or_default();
        match rest.strip_suffix(behind).map(|hole| taken(hole, true)) {
            Some(Truth::Yes) => truth,
            Some(other) => other,
            None => Truth::No,
        }
    }
}

impl Segment {
    fn holds(&self, segment: &str) -> Truth {
        match self {
            Self::Text(text) => (segment == &**text).into(),
            Self::Hole(behind) => match segment.strip_suffix(&**behind) {
                None | Some("") => Truth::No,
                Some(hole) => taken(hole, false),
            },
        }
    }
}

/// Whether a hole takes a text.
fn taken(text: &str, slashes: bool) -> Truth {
    let takes = |byte: u8| is_of_path(byte) || byte == b'*' || (slashes && byte == b'/');
    match text.bytes().all(takes) {
        true => Truth::Yes,
        false => Truth::Unknown,
    }
}

/// Whether Envoy takes it for a character of a path: one of RFC 3986's `pchar`, but `*`, which has a meaning in templates.
const fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$')
        || matches!(byte, b'&'..=b')' | b'+' | b',' | b';' | b':' | b'@' | b'=')
}

struct Reader<'a> {
    rest: &'a str,
    segments: Vec<Segment>,
    /// What has been read of a segment, or of what follows `**`.
    text: String,
    /// Whether that stands behind a hole.
    has_hole: bool,
    /// Whether `**` has been.
    has_rest: bool,
    names: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn path(&mut self) -> Result<(), &'static str> {
        self.rest = self
            .rest
            .strip_prefix('/')
            .ok_or("it does not begin with a slash")?;
        while !self.rest.is_empty() {
            let is_hole = self.segment()?;
            if self.rest.is_empty() {
                return Ok(());
            }
            if let Some(rest) = self.rest.strip_prefix('/') {
                self.rest = rest;
                self.slash();
            } else if is_hole {
                // Text behind a hole ends the path.
                self.literal()?;
                if !self.rest.is_empty() {
                    return Err("text behind a hole is for the last segment alone");
                }
            }
        }
        Ok(())
    }

    fn made(mut self) -> UriTemplate {
        let behind_rest = match self.has_rest {
            true => Some(std::mem::take(&mut self.text).into()),
            false => {
                self.slash();
                None
            }
        };
        UriTemplate {
            segments: self.segments.into(),
            behind_rest,
        }
    }

    /// Ends a segment.
    fn slash(&mut self) {
        if self.has_rest {
            self.text.push('/');
            return;
        }
        let text = std::mem::take(&mut self.text).into();
        self.segments
            .push(match std::mem::take(&mut self.has_hole) {
                true => Segment::Hole(text),
                false => Segment::Text(text),
            });
    }

    /// Whether it was a hole.
    fn segment(&mut self) -> Result<bool, &'static str> {
        match self.rest.as_bytes() {
            [b'*', ..] => self.glob().map(|()| true),
            [b'{', ..] => self.variable().map(|()| true),
            _ => self.literal().map(|()| false),
        }
    }

    fn glob(&mut self) -> Result<(), &'static str> {
        if self.has_rest {
            return Err("a hole follows **");
        }
        if let Some(rest) = self.rest.strip_prefix("**") {
            (self.rest, self.has_rest) = (rest, true);
        } else {
            self.rest = self.rest.strip_prefix('*').unwrap_or(self.rest);
            self.has_hole = true;
        }
        Ok(())
    }

    fn variable(&mut self) -> Result<(), &'static str> {
        let inner = self.rest.strip_prefix('{').unwrap_or(self.rest);
        let (inner, behind) = inner.split_once('}').ok_or("a bracket is not closed")?;
        let (name, holes) = inner.split_once('=').unwrap_or((inner, "*"));
        self.name(name)?;
        self.rest = holes;
        loop {
            match self.rest.as_bytes() {
                [b'*', ..] => self.glob()?,
                _ => self.literal()?,
            }
            if self.rest.is_empty() {
                break;
            }
            self.rest = self
                .rest
                .strip_prefix('/')
                .ok_or("a hole inside of a variable has text behind it")?;
            self.slash();
        }
        self.rest = behind;
        Ok(())
    }

    fn name(&mut self, name: &'a str) -> Result<(), &'static str> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.starts_with(|first: char| first.is_ascii_alphabetic())
            || !name.bytes().all(is_word)
        {
            return Err("a variable's name is no word");
        }
        if name.len() > NAME || self.names.len() == VARIABLES || self.names.contains(&name) {
            return Err("it takes 5 variables of 16 characters that differ");
        }
        self.names.push(name);
        Ok(())
    }

    /// Text up to the next slash.
    fn literal(&mut self) -> Result<(), &'static str> {
        let end = self.rest.find('/').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        if text.is_empty() || !text.bytes().all(is_of_path) {
            return Err("a segment is empty or has a character that is none of a path's");
        }
        self.text.push_str(text);
        self.rest = rest;
        Ok(())
    }
}
