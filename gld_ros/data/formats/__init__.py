"""Data sets, one module each; `gld_ros.data.scenes.KINDS` names them."""
