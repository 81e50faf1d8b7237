// Shouts: standard input in capitals goes to a file of the job's own and to standard output, with what it was given.
//
//     rustc --target wasm32-wasip1 -O -o shout.wasm shout.rs
//     echo hello | wasmq run shout.wasm -- some arguments
use std::io::Read;
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().map_or(false, |first| first == "fail") {
        panic!("told to fail");
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    fs::create_dir_all("made/deep")?;
    fs::write("made/out.txt", text.to_uppercase())?;
    let mut names: Vec<String> = fs::read_dir("made")?
        .map(|entry| entry.map(|found| found.file_name().into_string().unwrap()))
        .collect::<io::Result<_>>()?;
    names.sort();
    let start = Instant::now();
    thread::sleep(Duration::from_millis(20));
    println!("arguments: {}", arguments.join("|"));
    println!("NAME: {}", env::var("NAME").unwrap_or_default());
    println!("made: {}", names.join(" "));
    println!("slept: {}", start.elapsed() >= Duration::from_millis(20));
    println!("absent: {}", fs::metadata("/absent").is_err());
    print!("{}", fs::read_to_string("/made/out.txt")?);
    process::exit(3);
}
