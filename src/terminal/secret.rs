//! Reads a secret from the terminal without showing it.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use weir_error::ErrorKind;

use crate::failure::Failure;

/// The greatest length of a secret in bytes.
const LONGEST: usize = 4096;

/// Asks for a secret on the terminal. If standard input is no terminal, its first line is the secret.
pub(crate) fn secret(prompt: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return first_line(&mut io::stdin().lock());
    }
    let failed = |error: io::Error| Failure::io("terminal", &error);
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(failed)?;
    write!(terminal, "{prompt}: ").map_err(failed)?;
    let raw_mode = RawMode::on(&terminal).map_err(failed)?;
    let typed = typed(&mut (&terminal).take(u64::MAX));
    drop(raw_mode);
    // The newline that the user typed was not echoed.
    writeln!(terminal).ok();
    typed
}

/// Reads the first line, without its line end.
fn first_line(input: &mut impl io::BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    input
        .take(most)
        .read_line(&mut line)
        .map_err(|error| Failure::io("standard input", &error))?;
    let text = line.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(
            Failure::new(ErrorKind::InvalidInput, "standard input: holds no password")
                .with_hint("pipe it in, or run the command on a terminal, where it asks"),
        );
    }
    Ok(text.to_owned())
}

/// Reads a secret key by key. Ctrl-C is read as a key, not as a signal, so that the terminal is restored before the command
/// ends.
fn typed(keys: &mut impl io::Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut key = [0];
    loop {
        let read = keys.read(&mut key).map_err(|error| Failure::io("terminal", &error))?;
        match key[0] {
            _ if read == 0 => break,
            b'\r' | b'\n' => break,
            // Ctrl-C, and Ctrl-D on an empty line.
            0x03 => return Err(Failure::new(ErrorKind::Unavailable, "cancelled")),
            0x04 if bytes.is_empty() => return Err(Failure::new(ErrorKind::Unavailable, "cancelled")),
            0x04 => break,
            // Backspace removes a whole character, that is, also the UTF-8 continuation bytes; Ctrl-U removes all.
            0x08 | 0x7f => while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => bytes.clear(),
            byte if byte < 0x20 => {}
            byte if bytes.len() < LONGEST => bytes.push(byte),
            _ => {}
        }
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(ErrorKind::InvalidInput, "password: is no UTF-8 text"))
}

/// A terminal without echo, line editing and signal keys. Dropping it restores the terminal.
struct RawMode<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> RawMode<'a> {
    fn on(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        // `Flush` discards keys that were typed before the question.
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The editing keys work; Ctrl-C cancels.
    #[test]
    fn keys_edit() {
        let read = |keys: &[u8]| typed(&mut &*keys).map_err(|failure| failure.kind());
        assert_eq!(read("geheim\r".as_bytes()).as_deref(), Ok("geheim"));
        assert_eq!(read("aö\x7fb\n".as_bytes()).as_deref(), Ok("ab"));
        assert_eq!(read(b"wrong\x15right\x04").as_deref(), Ok("right"));
        assert_eq!(read(b"x\x7f\x7fy\x1b\n").as_deref(), Ok("y"));
        assert_eq!(read(b"abc\x03"), Err(ErrorKind::Unavailable));
        assert_eq!(read(b"\xff\n"), Err(ErrorKind::InvalidInput));
    }

    /// The first line of a pipe is the secret, blanks included. An empty line is an error.
    #[test]
    fn a_pipe_gives_its_first_line() {
        let read = |text: &str| first_line(&mut text.as_bytes());
        assert_eq!(read(" a b \r\nmore").expect("a line"), " a b ");
        assert_eq!(read("").expect_err("nothing").kind(), ErrorKind::InvalidInput);
        assert_eq!(read("\n").expect_err("nothing").kind(), ErrorKind::InvalidInput);
    }
}
