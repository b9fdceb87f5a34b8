//! Generated files as values: path, mode, content. Pure functions of spec, server and credentials.
