//! `envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`: paths with holes.

use crate::matcher::{FullRegex, InvalidRegex};

/// One segment: at least one of the characters of a path but `=` and `*` (Envoy's set).
const SEGMENT: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@]+";
/// The rest, slashes included, or nothing.
const SEGMENTS: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@/]*";

/// The most variables of a template, and the most bytes of a variable's name (Envoy's).
const VARIABLES: usize = 5;
const NAME: usize = 16;

/// A path with holes: `*` is one segment, `**` any rest of the path, `{name}` is `*`, and `{name=a/*}` has its own holes.
/// After `**` comes no other hole; a hole at the end may have text behind it, as in `/**.json`. The names are read and not
/// used. Envoy's `prefix{name}suffix` inside of one segment is refused.
#[derive(Debug, Clone)]
pub struct UriTemplate(FullRegex);

/// What is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTemplate {
    /// By its form.
    #[error("{0:?} is no path template: {1}")]
    Form(Box<str>, &'static str),
    /// It is too large.
    #[error("the path template is too large: {0}")]
    Size(#[from] InvalidRegex),
}

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is not of the form above.
    pub fn new(text: &str) -> Result<Self, NotTemplate> {
        let mut reader = Reader {
            rest: text,
            pattern: String::with_capacity(text.len() + 64),
            names: Vec::new(),
            has_rest: false,
        };
        match reader.path() {
            Ok(()) => Ok(Self(FullRegex::new(&reader.pattern)?)),
            Err(reason) => Err(NotTemplate::Form(text.into(), reason)),
        }
    }

    /// Whether a path without its query is of this form.
    pub fn matches(&self, path: &str) -> bool {
        self.0.matches(path.as_bytes())
    }
}

struct Reader<'a> {
    rest: &'a str,
    pattern: String,
    names: Vec<&'a str>,
    /// Whether `**` has been.
    has_rest: bool,
}

impl<'a> Reader<'a> {
    fn path(&mut self) -> Result<(), &'static str> {
        self.rest = self
            .rest
            .strip_prefix('/')
            .ok_or("it does not begin with a slash")?;
        self.pattern.push('/');
        while !self.rest.is_empty() {
            let is_hole = self.segment()?;
            if self.rest.is_empty() {
                break;
            }
            if let Some(rest) = self.rest.strip_prefix('/') {
                self.rest = rest;
                self.pattern.push('/');
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
            self.pattern.push_str(SEGMENTS);
        } else {
            self.rest = self.rest.strip_prefix('*').unwrap_or(self.rest);
            self.pattern.push_str(SEGMENT);
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
            self.pattern.push('/');
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
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@".contains(&byte);
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err("a segment is empty or has a character that is none of a path's");
        }
        for one in text.chars() {
            if one.is_ascii_punctuation() {
                self.pattern.push('\\');
            }
            self.pattern.push(one);
        }
        self.rest = rest;
        Ok(())
    }
}
