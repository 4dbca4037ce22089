"""Compiler of kernel units to object code.

numba by itself compiles every function separately and optimises a copy of it in each of its callers, with wrappers for
Python. Here all functions of a unit are put into one module that is optimised once. All numba monkeypatches are in this
file; they run only when the package is built, with the one version of numba that it requires.

For each entry the object has two functions: "native.NAME" for other units, in numba's calling convention, and
"call.NAME" for Python: int32 (int64 *slots). The slots hold the arguments, flattened as numba flattens them, and are
overwritten by the results; the last one receives numba's description of an error.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import callconv, codegen, config, cpu, funcdesc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing import signature
from numba.core.typing.templates import make_concrete_template

from ..signatures import MAX_RESULTS, NEEDS, Entry, Type, entries_of
from . import jit
from .targets import Target

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FAMILIES = {"i": "int", "u": "uint", "f": "float"}

# numba's runtime (NRT) over malloc, for arrays that kernels allocate: an object with its data's address in the fourth
# word. Allocation returns null if memory is exhausted, which numba turns into an error.
_MEMORY = """
declare noalias i8* @malloc(i64)
declare void @free(i8*)
define linkonce_odr i8* @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
    %align64 = zext i32 %align to i64
    %extra = add i64 %align64, 48
    %sum = call {i64, i1} @llvm.uadd.with.overflow.i64(i64 %size, i64 %extra)
    %total = extractvalue {i64, i1} %sum, 0
    %overflow = extractvalue {i64, i1} %sum, 1
    br i1 %overflow, label %none, label %allocate
allocate:
    %base = call i8* @malloc(i64 %total)
    %is_null = icmp eq i8* %base, null
    br i1 %is_null, label %none, label %fill
fill:
    %words = bitcast i8* %base to i64*
    %address = ptrtoint i8* %base to i64
    %behind = add i64 %address, 47
    %beyond = add i64 %behind, %align64
    %mask = sub i64 0, %align64
    %data = and i64 %beyond, %mask
    store i64 1, i64* %words
    %p1 = getelementptr i64, i64* %words, i64 1
    store i64 0, i64* %p1
    %p2 = getelementptr i64, i64* %words, i64 2
    store i64 0, i64* %p2
    %p3 = getelementptr i64, i64* %words, i64 3
    store i64 %data, i64* %p3
    %p4 = getelementptr i64, i64* %words, i64 4
    store i64 %size, i64* %p4
    %p5 = getelementptr i64, i64* %words, i64 5
    store i64 0, i64* %p5
    ret i8* %base
none:
    ret i8* null
}
define linkonce_odr void @NRT_MemInfo_call_dtor(i8* %info) {
    call void @free(i8* %info)
    ret void
}
declare {i64, i1} @llvm.uadd.with.overflow.i64(i64, i64)
"""


# Units with explicit vectors in the loops that matter: auto-vectorising the rest adds much code and no speed.
_EXPLICIT = {"features"}

# Functions with which kernels allocate arrays, which needs numba's reference counting.
_MAKERS = {"arange", "array", "copy", "empty", "empty_like", "full", "ones", "zeros", "zeros_like"}


class _Library(codegen.AOTCodeLibrary):  # type: ignore[misc]
    """Code library of one function; its code is added unchanged to the module of the unit."""

    def __init__(self, owner: Any, name: str) -> None:
        codegen.CodeLibrary.__init__(self, owner, name)
        self._linking_libraries: list[Any] = []
        self._final_module = owner.unit

    def add_linking_library(self, library: Any) -> None:
        """Do nothing: the code is in the same module."""

    def add_ir_module(self, ir_module: Any) -> None:
        self.add_llvm_module(llvm.parse_assembly(str(ir_module)))

    def add_llvm_module(self, module: Any) -> None:
        self._final_module.link_in(module)

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return no pointer: the code is not loaded in this process."""
        return 0


class _Codegen(codegen.AOTCPUCodegen):  # type: ignore[misc]
    """Code generator for position-independent code of the chosen system and processor, which may not be this one's."""

    _library_class = _Library

    def __init__(self, name: str, target: Target) -> None:
        self._target = target
        super().__init__(name)
        self._finds_vectors = name not in _EXPLICIT
        self.unit = llvm.parse_assembly(str(self._create_empty_module(name)))

    def _init(self, llvm_module: Any) -> None:
        """Set up the code generation without numba's engine, which loads code into this process."""
        self._loopvect, self._opt_level = False, 0
        self._tm_features = self._target.features
        self._tm = _machine(self._target, cpu=self._target.processor, features=self._target.features, opt=config.OPT)
        self._target_data = self._tm.target_data
        self._data_layout = str(self._target_data)

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = self._target.triple
        return module

    def optimise(self, kept: set[str]) -> bytes:
        """Optimise the unit and return its object code, with the exported functions visible."""
        for function in self.unit.functions:
            if not function.is_declaration and function.name not in kept:
                function.linkage = "internal"
            elif function.name.startswith("native."):
                function.visibility = "hidden"
        for variable in self.unit.global_variables:
            if not variable.is_declaration:
                variable.linkage = "internal"
        manager, builder = self._module_pass_manager(loop_vectorize=self._finds_vectors)
        manager.run(self.unit, builder)
        self.unit.verify()
        return bytes(self._tm.emit_object(self.unit))


class _Convention(callconv.CPUCallConv):  # type: ignore[misc]
    """numba's calling convention, without places in source files: paths differ from machine to machine."""

    def build_excinfo_struct(self, exc: Any, exc_args: Any, loc: Any, func_name: Any) -> Any:
        return exc, exc_args, None


class _Context(cpu.CPUContext):  # type: ignore[misc]
    """numba's target context, without the wrappers that only Python's calls of single functions need."""

    @property
    def call_conv(self) -> Any:
        return _Convention(self)

    def create_cpython_wrapper(self, *arguments: Any, **options: Any) -> None:
        """Make no wrapper: Python calls the functions of ``_write_call``."""

    def create_cfunc_wrapper(self, *arguments: Any, **options: Any) -> None:
        """Make no wrapper, as above."""

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> Any:
        """Return a distinct placeholder for the compiled function."""
        return [].append


def numba_type(kind: Type) -> Any:
    """Convert a type of the table to numba's type."""
    if isinstance(kind, tuple):
        return types.Tuple([numba_type(each) for each in kind])
    if kind.endswith("]"):
        base, dimensions = kind[:-1].split("[")
        return types.Array(numba_type(base), int(dimensions), "C")
    if kind == "b1":
        return types.boolean
    return getattr(types, f"{_FAMILIES[kind[0]]}{8 * int(kind[1])}")


def prepare() -> None:
    """Apply all patches to numba, once in a process and before kernels are imported."""
    if jit.is_ahead():
        return
    jit.compile_ahead(_adapt)


def compile_unit(unit: str, target: Target) -> bytes:
    """Compile a unit to object code, once in a process. Raises numba's exceptions."""
    with global_compiler_lock:
        context = cpu_target.target_context
        context.__class__ = _Context
        context._internal_codegen = owner = _Codegen(unit, target)
        for needed in NEEDS.get(unit, ()):
            for entry in entries_of(needed):
                _declare(entry, context)
        kept = set()
        for entry in entries_of(unit):
            kept |= _compile(entry, context, owner)
        owner.unit.link_in(llvm.parse_assembly(_MEMORY))
        code = owner.optimise(kept)
        _refuse_symbols_of_numba(owner.unit)
        return code


def compile_text(text: str, target: Target) -> bytes:
    """Compile LLVM IR for any processor of the target's kind. The IR's symbols are exported."""
    module = llvm.parse_assembly(f'target triple = "{target.triple}"\n{text}')
    return bytes(_machine(target).emit_object(module))


def _machine(target: Target, **options: Any) -> Any:
    """LLVM's generator of position-independent code for a system."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # for inline assembly, which llvmlite offers for this machine's processor only
    return llvm.Target.from_triple(target.triple).create_target_machine(reloc="pic", codemodel="small", **options)


def _adapt(function: Any) -> Any:
    """Reduce the code of a kernel: no reference counting without allocations, and no specialisation for constants.

    numba compiles a function again for a constant argument, even if the constant is only a variable's first value.
    """
    code, names = function.py_func.__code__, function.py_func.__globals__
    called = [names.get(name) for name in code.co_names]
    function.makes_arrays = not _MAKERS.isdisjoint(code.co_names) or any(
        getattr(each, "makes_arrays", False) for each in called
    )
    if not function.makes_arrays:
        function.targetoptions["_nrt"] = False
    resolve = function.get_call_template
    function.get_call_template = lambda args, kws: resolve(tuple(types.unliteral(each) for each in args), kws)
    return function


def _function(entry: Entry) -> Any:
    return getattr(import_module(f"..loops.{entry.module}", __package__), entry.function)


def _declare(entry: Entry, context: Any) -> None:
    """Declare an entry of another unit, so that calls to it refer to its symbol."""
    arguments = tuple(numba_type(kind) for kind in entry.arguments)
    result = types.none if entry.result is None else numba_type(entry.result)
    key: Any = [].append  # identifies it inside numba
    template = make_concrete_template(entry.name, key, [signature(result, *arguments)])
    description = funcdesc.ExternalFunctionDescriptor(f"native.{entry.name}", result, arguments)
    context.insert_user_function(key, description)
    function = _function(entry)
    function.get_call_template = lambda args, kws: (template, function._compiler.pysig, args, kws)
    function.get_overload = lambda args: key


def _compile(entry: Entry, context: Any, owner: _Codegen) -> set[str]:
    """Add an entry to the unit. Returns the names of its functions."""
    function, arguments = _function(entry), tuple(numba_type(kind) for kind in entry.arguments)
    function.compile(arguments)
    compiled = function.overloads[arguments]
    wanted = types.none if entry.result is None else numba_type(entry.result)
    if compiled.signature.return_type != wanted:
        raise TypeError(f"{entry.name} returns {compiled.signature.return_type}, its entry says {wanted}")
    native, call = f"native.{entry.name}", f"call.{entry.name}"
    owner.unit.get_function(compiled.fndesc.llvm_func_name).name = native
    module = owner.create_library(call).create_ir_module(call)
    _write_call(context, module, call, native, wanted, arguments)
    owner.unit.link_in(llvm.parse_assembly(str(module)))
    return {native, call}


def _write_call(context: Any, module: Any, name: str, native: str, result: Any, arguments: tuple[Any, ...]) -> None:
    """Emit the function that reads its arguments from slots and writes the results to them."""
    kind = context.call_conv.get_function_type(result, arguments)
    callee = ir.Function(module, kind, native)
    wrapper = ir.Function(module, ir.FunctionType(_I32, [_I64.as_pointer()]), name)
    builder = ir.IRBuilder(wrapper.append_basic_block("entry"))
    slots = wrapper.args[0]

    def slot(index: int) -> Any:
        return builder.gep(slots, [ir.Constant(_I64, index)])

    flat = [_from_slot(builder, builder.load(slot(i)), each) for i, each in enumerate(kind.args[2:])]
    value = context.get_return_type(result)
    place, error = builder.alloca(value), builder.alloca(kind.args[1].pointee)
    builder.store(ir.Constant(kind.args[1].pointee, None), error)
    status = builder.call(callee, [place, error, *flat])
    if result != types.none:
        loaded = builder.load(place)
        count = len(result) if isinstance(result, types.BaseTuple) else 0
        parts = [builder.extract_value(loaded, i) for i in range(count)] or [loaded]
        for i, part in enumerate(parts):
            builder.store(_to_slot(builder, part), slot(i))
    builder.store(builder.ptrtoint(builder.load(error), _I64), slot(max(len(flat), MAX_RESULTS)))
    builder.ret(status)


def _from_slot(builder: Any, word: Any, kind: Any) -> Any:
    if isinstance(kind, ir.PointerType):
        return builder.inttoptr(word, kind)
    if isinstance(kind, ir.DoubleType):
        return builder.bitcast(word, kind)
    if isinstance(kind, ir.FloatType):
        return builder.bitcast(builder.trunc(word, _I32), kind)
    return word if kind.width == 64 else builder.trunc(word, kind)


def _to_slot(builder: Any, value: Any) -> Any:
    if value.type.width == 64:
        return value
    return builder.zext(value, _I64)


def _refuse_symbols_of_numba(module: Any) -> None:
    """Raise RuntimeError if the code calls numba's own library, which the users of the code do not load."""
    declared = [each.name for each in (*module.functions, *module.global_variables) if each.is_declaration]
    foreign = [name for name in declared if name.lstrip("._").lower().startswith(("numba", "nrt_", "py"))]
    if foreign:
        raise RuntimeError(f"kernels use functions that exist only inside numba: {', '.join(foreign)}")
