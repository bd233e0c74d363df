//! The checks of a head by name, so that a test can switch off any one of them and see what it is good for.

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Check {
            $($name),*
        }

        #[cfg(test)]
        impl Check {
            pub(super) const EACH: &[Self] = &[$(Self::$name),*];
        }
    };
}

checks! {
    Connect,
    MethodCase,
    OneHost,
    OneAuthority,
    AnAuthority,
    HostCharacters,
    SchemeOfHttp,
    SchemeOfConnection,
    PathBegins,
    Ascii,
    OneForm,
    Crumbs,
    EscapedSlashes,
    DotParameters,
    Unreserved,
    Backslashes,
    Dots,
    DoubleSlashes,
}

/// Which of them are made: all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checks {
    #[cfg(test)]
    without: Option<Check>,
}

impl Checks {
    pub(super) const ALL: Self = Self {
        #[cfg(test)]
        without: None,
    };

    #[cfg(test)]
    pub(super) const fn without(check: Check) -> Self {
        Self {
            without: Some(check),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "in tests one may be off")]
    pub(super) const fn has(self, _: Check) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn has(self, check: Check) -> bool {
        self.without != Some(check)
    }
}
