//! What each key means.

use weir_net::PORT_LIMITS_DOCS;

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve HTTPS."),
    ("identity", "The certificate shown to everybody."),
    (
        "identity.cert",
        "PEM file of the certificate; it carries the names of `external_url` and `login_url`.",
    ),
    ("identity.key", "PEM file of its key."),
    (
        "identity.ca",
        "PEM file of the stack's CA. Callers that show a certificate of it have connections in reserve; empty: nobody has.",
    ),
    (
        "external_url",
        "The address that clients know, such as `https://uaa.example.com`; empty for where it listens. Tokens carry it, with \
         `/oauth/token` behind it, as their issuer.",
    ),
    ("login_url", "The address of the login pages; empty if it is the same."),
    (
        "database",
        "Where users, clients and tokens are kept: `sqlite:///path`, `postgres://user:password@host/name` or \
         `mysql://user:password@host/name`.",
    ),
    ("admin_user", "The first user, who may do everything."),
    (
        "admin_password_file",
        "The file with that user's first password. Made with a random one (mode 0600) when absent.",
    ),
    (
        "client_secrets_file",
        "The file with the secrets of the clients that are there from the start: a JSON object by client id. Made \
         together with them;\na secret that is new in it is the client's from the next start on. All nodes need a copy.",
    ),
    (
        "master_key_file",
        "The file with the key that seals the signing keys in the database; the same on all nodes. Made when absent.",
    ),
    ("tokens", "How long tokens are good for."),
    ("tokens.access", "An access token, unless its client says otherwise."),
    (
        "tokens.longest_access",
        "The longest that a client may say; a retired signing key is published for as long.",
    ),
    ("tokens.refresh", "A refresh token, unless its client says otherwise."),
    (
        "tokens.rotate_refresh",
        "Whether a refresh token is good for one refresh only. One that is shown again then revokes its successors.",
    ),
    ("tokens.code", "An authorization code."),
    ("tokens.passcode", "A one-time passcode, as `cf login --sso` asks for."),
    (
        "tokens.key_rotation",
        "After how long a new signing key replaces the present one; 0 for never.",
    ),
    ("sessions", "How long a browser stays logged in."),
    ("sessions.idle", "After this long without a request it is over."),
    ("sessions.longest", "After this long it is over in any case."),
    (
        "lockout",
        "What happens after repeated failures to log in with a password.",
    ),
    ("lockout.attempts", "How many failures lock a user name."),
    ("lockout.window", "Within what time."),
    ("lockout.lock", "For how long."),
    ("passwords", "What a password must be."),
    (
        "passwords.shortest",
        "Fewest characters of a new password; passwords that are there stay good.",
    ),
    ("hashing", "How passwords are stored: Argon2id."),
    ("hashing.memory", "Memory of one hash."),
    ("hashing.passes", "Passes over it."),
    ("hashing.threads", "Threads; 0 for half of the cores."),
    (
        "hashing.queue",
        "How many may wait; who comes then is told when to come again.",
    ),
    ("limits", "Bounds of what clients may use."),
    PORT_LIMITS_DOCS[0],
    PORT_LIMITS_DOCS[1],
    PORT_LIMITS_DOCS[2],
    (
        "providers",
        "External OpenID Connect providers, by the name that becomes the origin of their users.",
    ),
];
