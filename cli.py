from irbench.cli import main

main()
