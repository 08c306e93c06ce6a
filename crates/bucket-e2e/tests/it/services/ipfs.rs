//! The IPFS node under the harness.

use bucket_e2e::{Ipfs, Server};
use serde_json::Value;

use super::{check_that_it_stays_here, crash_and_restart, stop};

#[test]
fn a_pinned_file_is_there_after_a_crash() {
    let Some(mut ipfs) = Ipfs::start_or_skip() else { return };
    let add = "add?cid-version=1&cid-base=base32&pin=true";
    let (status, added) = ipfs.call(add, Some(b"hello")).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&added));
    let added: Value = serde_json::from_slice(&added).unwrap();
    let cid = added["Hash"].as_str().unwrap();
    // The id of these five bytes as a raw block, by any implementation.
    assert_eq!(cid, "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq");
    crash_and_restart(&mut ipfs);
    assert_eq!(ipfs.call(&format!("cat?arg={cid}"), None), Ok((200, b"hello".to_vec())));
    let (status, pins) = ipfs.call(&format!("pin/ls?arg={cid}&cid-base=base32"), None).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&pins));
    assert!(String::from_utf8_lossy(&pins).contains(cid));
    check_that_it_stays_here(&mut ipfs);
    stop(ipfs);
}

#[test]
fn a_node_that_is_asked_for_what_it_lacks_asks_nobody() {
    let Some(mut ipfs) = Ipfs::start_or_skip() else { return };
    assert_eq!(ipfs.call("swarm/peers", None), Ok((200, br#"{"Peers":[]}"#.to_vec())));
    let unknown = "block/get?arg=bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let (status, _) = ipfs.call(&format!("{unknown}&timeout=2s"), None).unwrap();
    assert_ne!(status, 200);
    check_that_it_stays_here(&mut ipfs);
}
