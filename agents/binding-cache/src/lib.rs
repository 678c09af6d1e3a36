//! The syslog binding cache: which drains are bound to which apps.
