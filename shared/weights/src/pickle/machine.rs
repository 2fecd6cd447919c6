//! An interpreter for the part of the pickle language that `torch.save` writes for tensors.
//!
//! It has no call to make: a global is one of a closed list of names, and reducing one of them builds a plain value
//! here. Everything lives in flat arenas, strings are ranges of the input, and nothing recurses, so neither nesting nor
//! cycles can exhaust the stack. Memory is bounded by a constant times the input's length.

use std::collections::HashMap;
use std::ops::Range;

use super::archive::storage_dtype;
use crate::StoredDtype;
use crate::header::printable;

/// A value on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Nothing,
    Bool,
    Int(i64),
    Float,
    /// A range of the input.
    Text(usize, usize),
    Mark,
    Global(Global),
    /// Index into the tuples (lists are tuples too).
    Sequence(usize),
    /// Index into the dictionaries.
    Dict(usize),
    /// Index into the storages.
    Storage(usize),
    /// Index into the tensors.
    Tensor(usize),
}

/// The only names that a pickle may refer to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(StoredDtype),
}

/// A storage: a run of values in a file of the archive.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) dtype: StoredDtype,
    pub(super) key: Range<usize>,
}

/// A tensor over a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) storage: usize,
    /// First value in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The interpreter and all it has made.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<View>,
}

type Outcome<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// Interprets `input` to its end: the machine and the value that it leaves.
    pub(super) fn run(input: &'a [u8]) -> Outcome<(Self, Value)> {
        let mut machine = Self {
            input,
            at: 0,
            stack: Vec::new(),
            memo: HashMap::new(),
            sequences: Vec::new(),
            dicts: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        };
        loop {
            let place = machine.at;
            let opcode = machine.byte()?;
            if opcode == b'.' {
                let result = machine.pop()?;
                return Ok((machine, result));
            }
            machine.step(opcode).map_err(|why| format!("byte {place}: {why}"))?;
        }
    }

    /// The text behind a range that a value carries.
    pub(super) fn text(&self, range: Range<usize>) -> &'a str {
        self.input.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The entries of a dictionary.
    pub(super) fn dict(&self, index: usize) -> &[(Value, Value)] {
        self.dicts.get(index).map_or(&[], Vec::as_slice)
    }

    fn step(&mut self, opcode: u8) -> Outcome<()> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.bytes(8).map(|_| ()),
            b'(' => self.push(Value::Mark),
            b'N' => self.push(Value::Nothing),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => self.unsigned(1).and_then(|n| self.push(Value::Int(n as i64))),
            b'M' => self.unsigned(2).and_then(|n| self.push(Value::Int(n as i64))),
            b'J' => self.unsigned(4).and_then(|n| self.push(Value::Int(i64::from(n as u32 as i32)))),
            0x8a => self.long(),
            b'G' => self.bytes(8).map(|_| ()).and_then(|()| self.push(Value::Float)),
            b'X' => self.unsigned(4).and_then(|n| self.unicode(n)),
            0x8c => self.unsigned(1).and_then(|n| self.unicode(n)),
            b'}' => self.new_dict(),
            b']' | b')' => self.new_sequence(Vec::new()),
            0x85..=0x87 => self.short_tuple(usize::from(opcode - 0x84)),
            b't' => self.pop_to_mark().and_then(|items| self.new_sequence(items)),
            b's' => self.set_item(),
            b'u' => self.set_items(),
            b'a' => self.append(),
            b'e' => self.appends(),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'q' => self.unsigned(1).and_then(|n| self.memorize(n as u32)),
            b'r' => self.unsigned(4).and_then(|n| self.memorize(n as u32)),
            0x94 => self.memorize(self.memo.len() as u32),
            b'h' => self.unsigned(1).and_then(|n| self.recall(n as u32)),
            b'j' => self.unsigned(4).and_then(|n| self.recall(n as u32)),
            other => Err(format!("opcode {other:#04x} is none that saved tensors need")),
        }
    }

    fn protocol(&mut self) -> Outcome<()> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => Err(format!("pickle protocol {other} is unknown")),
        }
    }

    fn long(&mut self) -> Outcome<()> {
        let n = usize::from(self.byte()?);
        if n > 8 {
            return Err(format!("an integer of {n} bytes"));
        }
        let bytes = self.bytes(n)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut value = [fill; 8];
        value[..n].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(value)))
    }

    fn unicode(&mut self, length: u64) -> Outcome<()> {
        let start = self.at;
        let bytes = self.bytes(usize::try_from(length).map_err(|_| "a text too long")?)?;
        std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?;
        self.push(Value::Text(start, self.at))
    }

    fn new_dict(&mut self) -> Outcome<()> {
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    fn new_sequence(&mut self, items: Vec<Value>) -> Outcome<()> {
        self.sequences.push(items);
        self.push(Value::Sequence(self.sequences.len() - 1))
    }

    fn short_tuple(&mut self, n: usize) -> Outcome<()> {
        let start = self.stack.len().checked_sub(n).ok_or("the stack is empty")?;
        let items = self.stack.split_off(start);
        self.new_sequence(items)
    }

    fn set_item(&mut self) -> Outcome<()> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.top_dict()?.push((key, value));
        Ok(())
    }

    fn set_items(&mut self) -> Outcome<()> {
        let items = self.pop_to_mark()?;
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("a key without a value".into());
        };
        self.top_dict()?.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn append(&mut self) -> Outcome<()> {
        let value = self.pop()?;
        self.top_sequence()?.push(value);
        Ok(())
    }

    fn appends(&mut self) -> Outcome<()> {
        let items = self.pop_to_mark()?;
        self.top_sequence()?.extend(items);
        Ok(())
    }

    fn global(&mut self) -> Outcome<()> {
        let module = self.line()?;
        let name = self.line()?;
        self.named(module, name)
    }

    fn stack_global(&mut self) -> Outcome<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Text(a, b), Value::Text(c, d)) = (module, name) else {
            return Err("a global whose name is no text".into());
        };
        self.named(self.text(a..b), self.text(c..d))
    }

    fn named(&mut self, module: &str, name: &str) -> Outcome<()> {
        let global = match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", storage) if storage_dtype(storage).is_some() => {
                Global::Storage(storage_dtype(storage).ok_or("unknown storage")?)
            }
            _ => {
                let (module, name) = (printable(module), printable(name));
                return Err(format!("it names `{module}.{name}`, which saved tensors do not need"));
            }
        };
        self.push(Value::Global(global))
    }

    /// `("storage", class, key, location, length)`. The length is not believed: the archive tells it.
    fn persistent(&mut self) -> Outcome<()> {
        let Value::Sequence(index) = self.pop()? else {
            return Err("a persistent id that is no tuple".into());
        };
        let [Value::Text(a, b), Value::Global(Global::Storage(dtype)), Value::Text(c, d), _, _] =
            self.sequences[index][..]
        else {
            return Err("a persistent id that is no storage".into());
        };
        if self.text(a..b) != "storage" {
            return Err("a persistent id that is no storage".into());
        }
        self.storages.push(Storage { dtype, key: c..d });
        self.push(Value::Storage(self.storages.len() - 1))
    }

    fn reduce(&mut self) -> Outcome<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let (Value::Sequence(index), Value::Global(global)) = (arguments, callee) else {
            return Err("a call of something that is no known global".into());
        };
        let arguments = &self.sequences[index];
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.new_dict(),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                let tensor = *tensor;
                self.push(tensor)
            }
            (Global::RebuildTensor, [Value::Storage(storage), Value::Int(offset), shape, strides, ..]) => {
                let offset = usize::try_from(*offset).map_err(|_| "a tensor with a negative offset")?;
                let (storage, shape, strides) = (*storage, self.sizes(*shape)?, self.sizes(*strides)?);
                self.tensors.push(View { storage, offset, shape, strides });
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err(format!("{global:?} with arguments it does not take")),
        }
    }

    fn sizes(&self, value: Value) -> Outcome<Vec<usize>> {
        let Value::Sequence(index) = value else {
            return Err("a shape that is no tuple".into());
        };
        let size = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| "a negative size".to_owned()),
            _ => Err("a size that is no integer".to_owned()),
        };
        self.sequences[index].iter().map(size).collect()
    }

    /// Attributes of an ordered dictionary (`_metadata` of a state dict) are of no interest.
    fn build(&mut self) -> Outcome<()> {
        self.pop()?;
        self.top_dict().map(|_| ())
    }

    fn memorize(&mut self, index: u32) -> Outcome<()> {
        let value = *self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Outcome<()> {
        let value = *self.memo.get(&index).ok_or_else(|| format!("memo {index} is not set"))?;
        self.push(value)
    }

    fn push(&mut self, value: Value) -> Outcome<()> {
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Value> {
        match self.stack.pop() {
            None => Err("the stack is empty".into()),
            Some(Value::Mark) => Err("a mark where a value should be".into()),
            Some(value) => Ok(value),
        }
    }

    fn pop_to_mark(&mut self) -> Outcome<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark).ok_or("no mark on the stack")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn top_dict(&mut self) -> Outcome<&mut Vec<(Value, Value)>> {
        match self.stack.last() {
            Some(Value::Dict(index)) => self.dicts.get_mut(*index).ok_or_else(|| "no such dictionary".into()),
            _ => Err("no dictionary where one should be".into()),
        }
    }

    fn top_sequence(&mut self) -> Outcome<&mut Vec<Value>> {
        match self.stack.last() {
            Some(Value::Sequence(index)) => self.sequences.get_mut(*index).ok_or_else(|| "no such list".into()),
            _ => Err("no list where one should be".into()),
        }
    }

    fn bytes(&mut self, n: usize) -> Outcome<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.input.len()).ok_or("the pickle ends early")?;
        let bytes = &self.input[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn unsigned(&mut self, n: usize) -> Outcome<u64> {
        let mut value = [0; 8];
        value[..n].copy_from_slice(self.bytes(n)?);
        Ok(u64::from_le_bytes(value))
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.input[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("the pickle ends early")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a name that is not UTF-8".into())
    }
}
