//! What holds a private key: nobody can show or copy it, and it is overwritten when it is dropped. Of [`PrivateKey`] its
//! documentation has programs that do not compile, too.

use rcgen::KeyPair;

use crate::tls::files::Texts;
use crate::tls::keys::{Identity, Material, PrivateKey};

/// Whether a type has a trait: a constant of its own hides the one of a trait.
macro_rules! has {
    ($of:ty, $($bound:tt)+) => {{
        #[allow(dead_code, reason = "one of both is not used")]
        trait Lacks {
            const HAS: bool = false;
        }
        #[allow(dead_code, reason = "nobody makes one")]
        struct Probe<T>(std::marker::PhantomData<T>);
        impl<T> Lacks for Probe<T> {}
        #[allow(dead_code, drop_bounds, reason = "one of both is not used; whether it has one is the question")]
        impl<T: $($bound)+> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$of>>::HAS
    }};
}
#[cfg(feature = "csr")]
pub(crate) use has;

#[test]
fn the_question_has_two_answers() {
    assert!(has!(String, std::fmt::Debug) && has!(String, Clone) && has!(Vec<u8>, PartialEq));
    assert!(!has!(String, Drop) && !has!(String, Copy));
    // What a key is read from can be copied, and is not handed out.
    assert!(has!(KeyPair, std::fmt::Debug));
}

#[test]
fn a_private_key_can_only_be_used() {
    assert!(!has!(PrivateKey, std::fmt::Debug) && !has!(PrivateKey, std::fmt::Display));
    assert!(!has!(PrivateKey, Clone) && !has!(PrivateKey, PartialEq));
    assert!(!has!(PrivateKey, AsRef<[u8]>) && !has!(PrivateKey, Into<Vec<u8>>));
    assert!(has!(PrivateKey, Drop), "it overwrites itself");
}

#[test]
fn what_holds_one_cannot_be_copied_either() {
    assert!(!has!(Identity, Clone) && !has!(Material, Clone));
    assert!(!has!(Identity, PartialEq) && !has!(Material, PartialEq));
    assert!(!has!(Texts, std::fmt::Debug) && !has!(Texts, Clone));
}
