# The libtorch of a Python installation, as the target torch::torch. CAIRN_TORCH is the `torch` folder of the wheel.
# Written by hand because find_package(Torch) asks for the whole CUDA toolkit when the wheel was built with CUDA.
# Read by the build and by find_package(Cairn).
set(CAIRN_TORCH "" CACHE PATH "the torch folder of a PyTorch installation; empty builds only what needs no tensors")
if(NOT CAIRN_TORCH)
  message(STATUS "No CAIRN_TORCH: building only the libraries that need no tensors")
  return()
endif()
if(NOT EXISTS ${CAIRN_TORCH}/include/ATen/core/Tensor.h)
  message(FATAL_ERROR "CAIRN_TORCH=${CAIRN_TORCH} holds no include/ATen/core/Tensor.h")
endif()
file(STRINGS ${CAIRN_TORCH}/version.py CAIRN_TORCH_VERSION REGEX "^__version__")
string(REGEX REPLACE "^[^']*'([0-9.]+).*" "\\1" CAIRN_TORCH_VERSION "${CAIRN_TORCH_VERSION}")
if(TARGET torch::torch)
  return()
endif()
add_library(torch::torch INTERFACE IMPORTED GLOBAL)
# The wheel brings its own libgomp. A second copy would be a second pool of threads that spins against the first,
# so our OpenMP code links the wheel's.
file(GLOB gomp ${CAIRN_TORCH}/lib/libgomp*.so* ${CAIRN_TORCH}/../torch.libs/libgomp*.so*)
list(LENGTH gomp found)
if(found GREATER 1)
  list(GET gomp 0 gomp)
endif()
if(NOT gomp)
  set(gomp gomp)
endif()
# A CUDA build's libtorch_cpu needs CUDA libraries that it finds by its own run path when the program starts; the
# linker need not find them, so undefined symbols of shared libraries are none of its business.
# The wheel also brings headers of fmt, protobuf and others in versions of its own: search it after the system's.
set_target_properties(torch::torch PROPERTIES
  INTERFACE_COMPILE_OPTIONS "SHELL:-idirafter ${CAIRN_TORCH}/include"
  INTERFACE_LINK_DIRECTORIES "${CAIRN_TORCH}/lib"
  INTERFACE_LINK_OPTIONS "-Wl,-rpath,${CAIRN_TORCH}/lib;-Wl,--allow-shlib-undefined"
  INTERFACE_LINK_LIBRARIES "-Wl,--no-as-needed;torch_cpu;c10;${gomp};-Wl,--as-needed")
