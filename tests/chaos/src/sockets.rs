//! Connections between processes of this machine, as the kernel lists them.

use std::collections::BTreeSet;

/// How the kernel lists a connection whose two ends are open.
const ESTABLISHED: &str = "01";

/// A connection, by its two ports on the loopback interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    client: u16,
    server: u16,
}

/// One end of an open connection.
struct End {
    local: u16,
    remote: u16,
    inode: String,
}

/// Open connections from a process to these ports.
pub(crate) fn outgoing(process: u32, servers: &[u16]) -> BTreeSet<Link> {
    let own = inodes(process);
    let calls = ends().into_iter().filter(|end| own.contains(&end.inode) && servers.contains(&end.remote));
    calls.map(|end| Link { client: end.local, server: end.remote }).collect()
}

/// True while a server holds its end of any of them open.
pub(crate) fn any_held(links: &BTreeSet<Link>) -> bool {
    ends().iter().any(|end| links.contains(&Link { client: end.remote, server: end.local }))
}

fn inodes(process: u32) -> BTreeSet<String> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return BTreeSet::new() };
    let targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    let inode = |target: &str| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    targets.filter_map(|target| inode(target.to_str()?)).collect()
}

/// All open ends of this machine.
fn ends() -> Vec<End> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().skip(1).filter_map(end).collect()
}

/// A line of the table: number, local and remote address, state, queues, timer, retransmits, user, timeout, inode.
fn end(line: &str) -> Option<End> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |at: usize| u16::from_str_radix(fields.get(at)?.rsplit_once(':')?.1, 16).ok();
    (*fields.get(3)? == ESTABLISHED).then_some(())?;
    Some(End { local: port(1)?, remote: port(2)?, inode: (*fields.get(9)?).to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_held_until_its_server_closes_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let links = outgoing(std::process::id(), &[server]);
        assert_eq!(links, BTreeSet::from([Link { client: peer.port(), server }]));
        assert!(any_held(&links));
        drop(accepted);
        assert!(!any_held(&links));
    }
}
