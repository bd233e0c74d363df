//! JSON as tokens and key sets may have it (RFC 8259), and no more: what two readers could read in two ways is refused.
//!
//! A reader of its own, for what others leave open: a name that occurs twice in an object, the depth, and numbers that no
//! `f64` holds. It is 100 lines, and no switch of another package's changes what it takes.

use std::collections::BTreeMap;

use crate::authz::Value;

/// How many arrays and objects may be within each other.
pub const DEEPEST: usize = 32;

/// The fields of a JSON object.
pub(super) type Fields = BTreeMap<Box<str>, Value>;

/// Reads one object, with nothing around it but blanks.
pub(super) fn object(text: &[u8]) -> Option<Fields> {
    let rest = std::str::from_utf8(text).ok()?;
    let mut reader = Reader { rest };
    let value = reader.value(DEEPEST)?;
    reader.blanks();
    match value {
        Value::Object(fields) if reader.rest.is_empty() => Some(fields),
        _ => None,
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Takes a text, if it is what follows.
    fn take(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// Any value, with so many levels below it.
    fn value(&mut self, levels: usize) -> Option<Value> {
        self.blanks();
        match self.rest.bytes().next()? {
            b'{' => self.fields(levels.checked_sub(1)?).map(Value::Object),
            b'[' => self.list(levels.checked_sub(1)?).map(Value::List),
            b'"' => self.string().map(Value::Text),
            b't' => self.take("true").map(|()| Value::Bool(true)),
            b'f' => self.take("false").map(|()| Value::Bool(false)),
            b'n' => self.take("null").map(|()| Value::Null),
            _ => self.number().map(Value::Number),
        }
    }

    fn fields(&mut self, levels: usize) -> Option<Fields> {
        self.take("{")?;
        let mut fields = Fields::new();
        self.blanks();
        if self.take("}").is_some() {
            return Some(fields);
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.take(":")?;
            let value = self.value(levels)?;
            if fields.insert(name, value).is_some() {
                return None;
            }
            self.blanks();
            match self.next()? {
                ',' => {}
                '}' => return Some(fields),
                _ => return None,
            }
        }
    }

    fn list(&mut self, levels: usize) -> Option<Box<[Value]>> {
        self.take("[")?;
        let mut list = Vec::new();
        self.blanks();
        if self.take("]").is_some() {
            return Some(list.into());
        }
        loop {
            list.push(self.value(levels)?);
            self.blanks();
            match self.next()? {
                ',' => {}
                ']' => return Some(list.into()),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<Box<str>> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let special = |char: char| matches!(char, '"' | '\\' | '\0'..='\x1f');
            let (plain, rest) = self.rest.split_at(self.rest.find(special)?);
            text.push_str(plain);
            self.rest = rest;
            match self.next()? {
                '"' => return Some(text.into()),
                '\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            plain @ ('"' | '\\' | '/') => plain,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.utf16(),
            _ => return None,
        })
    }

    /// One character, maybe of two halves; half of one is none.
    fn utf16(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.take("\\u")?;
        let second = self.four_digits()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn number(&mut self) -> Option<f64> {
        let end = self
            .rest
            .find(|char: char| !matches!(char, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let number: f64 = is_number(text).then(|| text.parse().ok())??;
        number.is_finite().then_some(number)
    }
}

/// RFC 8259, 6: `[-] int [frac] [exp]`, without zeros in front. Rust's own reader takes more.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let signless = |text: &str| digits(text.strip_prefix(['+', '-']).unwrap_or(text));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(signless)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Value> {
        let fields = object(format!("{{\"a\":{text}}}").as_bytes())?;
        fields.get("a").cloned()
    }

    #[test]
    fn what_json_has_is_read() {
        let text = |text: &str| Some(Value::Text(text.into()));
        assert_eq!(
            read(r#""\"\\\/\b\f\n\r\t\u0041é""#),
            text("\"\\/\x08\x0c\n\r\tAé")
        );
        assert_eq!(read(r#""\ud83d\ude00""#), text("\u{1f600}"));
        for (wire, number) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("10", 10.0),
            ("1.5e+3", 1500.0),
            ("2E-1", 0.2),
        ] {
            assert_eq!(read(wire), Some(Value::Number(number)), "{wire}");
        }
        let list = [
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::List(Box::default()),
        ];
        assert_eq!(
            read("[ null,true , false,[ ] ]"),
            Some(Value::List(Box::new(list)))
        );
        assert_eq!(read(" { } "), Some(Value::Object(Fields::new())));
    }

    #[test]
    fn what_two_readers_could_differ_in_is_refused() {
        for wire in [
            "",
            "+1",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e999",
            "0x1",
            "NaN",
            "Infinity",
            "tru",
            "True",
            "'a'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\u+041\"",
            "\"a",
            "[1,]",
            "[,1]",
            "[1",
            "{\"a\":1,}",
            "{\"a\":1,\"a\":1}",
            "{a:1}",
            "{\"a\" 1}",
            "1 2",
            "//x",
            "\u{a0}1",
            "1}",
            "[}",
        ] {
            assert_eq!(read(wire), None, "{wire}");
        }
        assert_eq!(object(b"[]"), None);
        assert_eq!(object(b"{} x"), None);
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None);
        assert_eq!(object(br#"{"a":1,"\u0061":2}"#), None);
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth: usize| read(&("[".repeat(depth) + &"]".repeat(depth)));
        assert!(nested(DEEPEST - 1).is_some());
        assert_eq!(nested(DEEPEST), None);
        assert_eq!(nested(100_000), None);
    }
}
